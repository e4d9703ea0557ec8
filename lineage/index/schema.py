"""The tables that answer questions. They may change with any release: then NAME changes too.

Versions, sources and steps share one space of integer ids, told apart by the remainder of 4, so
that one edge table joins them. A *step* is what a run had used up to a point: a version's edge
leads to the step it was published in, the step's edges lead to what was used, and to the step
before it. So a run with U uses and P versions has U + P edges rather than U x P, and a use after
a publish is no ancestor of that version.
"""

from __future__ import annotations

__all__ = ["NAME", "SCHEMA", "SOURCE", "STEP", "VERSION", "kind_of"]

NAME = "index-2"
VERSION, SOURCE, STEP = 0, 1, 2

SCHEMA = """
CREATE TABLE IF NOT EXISTS artifact(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL, latest INTEGER);
CREATE TABLE IF NOT EXISTS version(
    id INTEGER PRIMARY KEY, artifact INTEGER NOT NULL, number INTEGER NOT NULL,
    state TEXT NOT NULL, path TEXT NOT NULL, host TEXT, external INTEGER NOT NULL,
    type TEXT NOT NULL, run INTEGER, fingerprint TEXT, digest TEXT, metadata TEXT NOT NULL,
    non_finite TEXT, origin TEXT, occurred TEXT, recorded TEXT, commit_number INTEGER,
    late INTEGER NOT NULL, gone INTEGER, UNIQUE(artifact, number));
CREATE TABLE IF NOT EXISTS alias(
    artifact INTEGER NOT NULL, alias TEXT NOT NULL, number INTEGER, revision INTEGER NOT NULL,
    PRIMARY KEY(artifact, alias)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alias_move(
    artifact INTEGER NOT NULL, alias TEXT NOT NULL, revision INTEGER NOT NULL, number INTEGER,
    was INTEGER, by TEXT, recorded TEXT NOT NULL, commit_number INTEGER NOT NULL,
    PRIMARY KEY(artifact, alias, revision)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS source(
    id INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE, commit_number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS run(
    id INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, name TEXT NOT NULL, job TEXT,
    job_type TEXT, status TEXT NOT NULL, started TEXT NOT NULL, ended TEXT, host TEXT, user TEXT,
    config TEXT NOT NULL, detail TEXT NOT NULL, error TEXT, step INTEGER, published INTEGER,
    commit_number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS step(id INTEGER PRIMARY KEY, run INTEGER);
CREATE INDEX IF NOT EXISTS step_run ON step(run);
CREATE TABLE IF NOT EXISTS edge(
    dst INTEGER NOT NULL, src INTEGER NOT NULL, role TEXT NOT NULL, revision TEXT NOT NULL,
    split TEXT NOT NULL, weight REAL, tokens INTEGER, digest TEXT, size INTEGER,
    commit_number INTEGER NOT NULL, PRIMARY KEY(dst, src, role, revision, split)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS edge_back ON edge(src, dst, commit_number);
CREATE TABLE IF NOT EXISTS fact(
    commit_number INTEGER NOT NULL, position INTEGER NOT NULL, event TEXT NOT NULL,
    kind TEXT NOT NULL, version INTEGER, run INTEGER, PRIMARY KEY(commit_number, position))
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS fact_version ON fact(version) WHERE version NOT NULL;
CREATE INDEX IF NOT EXISTS fact_run ON fact(run) WHERE run NOT NULL;
CREATE INDEX IF NOT EXISTS version_run ON version(run);
CREATE TABLE IF NOT EXISTS receipt(
    subject TEXT NOT NULL, mirror TEXT NOT NULL, commit_number INTEGER NOT NULL, name TEXT,
    recorded TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY(subject, mirror, commit_number))
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS receipt_name ON receipt(name) WHERE name NOT NULL;
"""


def kind_of(node: int) -> int:
    """Tell whether a node id is a VERSION, a SOURCE or a STEP."""
    return node & 3
