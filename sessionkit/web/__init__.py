"""A session for each request of a web backend: `sessionkit.web.flask`, `sessionkit.web.starlette` (FastAPI too)."""
