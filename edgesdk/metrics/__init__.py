"""Metrics of models beyond top-1 accuracy: the float model's and the converted one's outputs, from
the device, against the truth. What a metric is comes from well-kept libraries where there are any.
"""
