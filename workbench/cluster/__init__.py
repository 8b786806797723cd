"""What runs on Ray: the only folder that imports it. Every task wraps a plain function of the layers above."""
