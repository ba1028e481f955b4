"""Measurements that are kept, on this workstation; nothing here measures or judges."""
