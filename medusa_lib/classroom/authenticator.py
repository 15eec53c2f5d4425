"""Log in by the teacher's list; a change of it holds at once, without a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler
from jupyterhub.user import User
from traitlets import Unicode

from medusa_lib.classroom.learners import ListedLearner, keep_learners, read_learners

WAIT = 1.0  # seconds after a wrong password, against guessing


class ListAuthenticator(Authenticator):
    """Names and passwords from a file that the teacher keeps.

    list_file: the teacher's list, or nothing to use the hashes of the last one. kept_file: where
    the hashes are. A list with a mistake changes nothing until it is mended; the log says so.
    """

    list_file = Unicode(config=True, help="the teacher's CSV file name,password[,teacher]")
    kept_file = Unicode(config=True, help="where the hashes are kept")
    seen: float | None = None

    def __init__(self, **given: object) -> None:
        super().__init__(**given)
        self.allow_all = True  # whoever knows a password of the list
        self.known = read_learners(Path(self.kept_file))

    def read_again(self) -> dict[str, ListedLearner]:
        """The learners of the list as it is now."""
        path = Path(self.list_file)
        try:
            changed = path.stat().st_mtime if self.list_file else None
            if changed != self.seen:
                self.seen = changed
                self.known = keep_learners(path, Path(self.kept_file))
        except (OSError, ValueError) as error:
            self.log.warning("the list of learners stays as it was: %s", error)
        return self.known

    async def authenticate(
        self, handler: BaseHandler | None, data: dict[str, str]
    ) -> dict[str, object] | None:
        """Name and whether a teacher, or None, after a second, for a wrong name or password."""
        known = await asyncio.to_thread(self.read_again)
        learner = known.get(data["username"])
        if learner and await asyncio.to_thread(learner.knows, data["password"]):
            return {"name": data["username"], "admin": learner.teacher}
        await asyncio.sleep(WAIT)
        return None

    async def refresh_user(
        self, user: User, handler: BaseHandler | None = None, **_: object
    ) -> bool:
        """False for one who is no longer in the list: the next page asks for a password."""
        return user.name in await asyncio.to_thread(self.read_again)
