"""Measurements judged: statistics, summaries, gates, and the report made of them."""
