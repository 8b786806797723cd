"""The HTTP door: one FastAPI application, served by uvicorn or mounted in Ray Serve. DESIGN.md has its contract."""
