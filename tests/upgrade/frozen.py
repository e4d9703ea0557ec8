"""Turns stores into files that are kept, and such files into stores again."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.servers import PostgresServer

from nemotron.lineage.journal.bucket import Bucket

KINDS = {
    "sqlite": "lineage.db", "directory": "lineage", "packed": "packed", "objects": "objects",
    "postgres": "postgres.sql",
}  # fmt: skip
SCHEMA = "frozen_store"
# each row as the statement that puts it back; %L quotes it
_ROWS = {
    "journal": "one, id, format, number, hash, recorded",
    "commits": "number, hash, text",
    "intake": "writer, sequence, about, line",
    "shelf": "name, part, data",
}


def thaw_files(form: Path, kind: str, folder: Path) -> str:
    """Copy a frozen store of files into an empty folder, and return its address."""
    shutil.copytree(form, folder)
    return str(folder / KINDS[kind])


def freeze_bucket(bucket: Bucket, folder: Path) -> None:
    """Write every object below a prefix into a file of its name."""
    for name in bucket.between("", "\uffff"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.read(name))


def thaw_bucket(folder: Path, bucket: Bucket) -> None:
    """Put every file below a folder into an object of its name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket.put_over(str(path.relative_to(folder)), path.read_bytes())


def freeze_database(server: PostgresServer, tables: str, path: Path) -> None:
    """Write the statements that make a store of the schema ``frozen_store``."""
    statements = tables.format(schema=SCHEMA).strip().splitlines()
    for table, columns in _ROWS.items():
        marks = ",".join(["%L"] * len(columns.split(",")))
        row = f"INSERT INTO {SCHEMA}.{table} VALUES({marks});"
        rows = server.sql(f"SELECT format('{row}', {columns}) FROM {SCHEMA}.{table} ORDER BY 1")
        statements += [str(text) for (text,) in rows]
    path.write_text("\n".join(statements) + "\n")


def thaw_database(path: Path, server: PostgresServer, schema: str) -> str:
    """Run the statements for another schema, and return the address of that store."""
    server.sql(path.read_text().replace(SCHEMA, schema))
    return server.address(schema)
