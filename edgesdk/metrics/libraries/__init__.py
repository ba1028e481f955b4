"""Metrics of other libraries; each file imports one, and is imported when its metric is asked."""
