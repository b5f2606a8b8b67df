"""The service over HTTP: a FastAPI application over any `Service`, and its server.

It imports no torch of its own. FastAPI, uvicorn and prometheus-client belong to the extra `serve`.
"""
