"""
Flask: one session for each request, committed before the response leaves.

::

    app = Flask(__name__)
    db = SessionKit(app, registry)              # or db = SessionKit(bind=registry); db.init_app(app)

    @app.post("/orders")
    def order():
        db.session.insert(Order(...))
        return {"id": 1}, 201                   # a client that reads this finds the order there
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import current_app, g, jsonify

from .. import errors
from ..errors import ArgumentError
from .responses import MEANINGS, answer_to, health

if TYPE_CHECKING:
    from flask import Flask, Response

    from ..engine import Engine
    from ..registry import Registry
    from ..session.session import Session

_KEY = "sessionkit_session"


class SessionKit:
    """
    The extension: `db.session` is the request's session, made when it is first asked for.

    It is committed after the view has returned a status below 400 and before the response leaves; a COMMIT that fails is the
    response's error. It is rolled back on an exception and on a status of 400 and above, and closed whatever happens. What runs
    later (a streamed body, a task) gets a session of its own from `db.session`, or makes one by `db.bind.begin()`.

    Errors of the database become responses (`sessionkit.web.responses`); an error handler of the application's own for one of their
    classes comes first.
    """

    def __init__(self, app: Flask | None = None, bind: Engine | Registry | None = None) -> None:
        if bind is None:
            raise ArgumentError(
                "SessionKit(app, bind) needs an Engine or a Registry: SessionKit(app, create_engine(url))"
            )
        self.bind = bind
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Serve an application; called once, before other functions that run after a request are registered."""
        app.extensions["sessionkit"] = self
        app.after_request(self._end)
        app.teardown_appcontext(self._close)
        for kind in MEANINGS:
            app.register_error_handler(kind, self._answer)

    @property
    def session(self) -> Session:
        """The session of this request (or of the application context that is pushed)."""
        found: Session | None = g.get(_KEY)
        if found is None:
            found = self.bind.session()
            setattr(g, _KEY, found)
        return found

    def health(self) -> tuple[Response, int]:
        """A view for `app.add_url_rule("/health", view_func=db.health)`: round trip and pool of each database, or 503."""
        status, found = health(self.bind)
        return jsonify(found), status

    def _end(self, response: Response) -> Response:
        session: Session | None = g.pop(_KEY, None)
        if session is None:
            return response
        try:
            if response.status_code < 400:
                session.commit()
            else:
                session.rollback()
        except errors.Error as exc:
            if answer_to(exc) is None:
                raise
            return current_app.make_response(current_app.handle_user_exception(exc))
        finally:
            session.close()
        return response

    def _close(self, exc: BaseException | None) -> None:
        session: Session | None = g.pop(_KEY, None)
        if session is not None:
            try:
                session.rollback()
            finally:
                session.close()

    def _answer(self, exc: Exception) -> Any:
        found = answer_to(exc)
        if found is None:
            raise exc
        return jsonify({"error": found.error}), found.status, found.headers
