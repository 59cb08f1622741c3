"""Where the outside comes in: each edge translates, and knows no business."""
