# SPDX-License-Identifier: LGPL-2.1-or-later
"""The journal of a state directory, behind godwit's back."""

import contextlib
import pathlib
import sqlite3


def path(state):
    """Where it is."""
    return pathlib.Path(state) / "journal.db"


def ask(state, sql, *values):
    """The rows of a query, as tuples; what it changes is kept."""
    with contextlib.closing(sqlite3.connect(path(state), timeout=10)) as db, db:
        return db.execute(sql, values).fetchall()
