"""The business's systems, one module for each way of reaching them. They import ports and domain only."""
