"""Pictures: plain data in, a matplotlib `Figure` or a uint8 image out. No pyplot, no Jupyter."""
