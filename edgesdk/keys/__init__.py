"""This user's keys, what they sign, and the trust that devices judge it by."""
