"""Addresses whose password a library reads otherwise than its owner meant."""

from __future__ import annotations

import re
import time
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from tasks.base.errors import (
    InfrastructureError,
    KeepfitError,
    SourceError,
    TransientError,
)
from tasks.base.pipeline_file import load_pipeline
from tasks.base.text.redaction import (
    errors_without,
    redact,
    secret_parts,
    without_credentials,
)
from tasks.orchestration.prefect_api import answers, check_configured
from tasks.projects.reachability import _address

PIECES = ("Zq7x", "kV9p", "wJ3m")
PASSWORDS = (
    "Zq7x@kV9p:wJ3m",
    "Zq7x/kV9p#wJ3m",
    "Zq7x[kV9p]wJ3m",
    "Zq7x%40kV9p%3AwJ3m",
    "Zq7x?kV9p&wJ3m",
)


@pytest.mark.parametrize("password", PASSWORDS)
def test_no_piece_of_a_password_is_left_of_what_a_library_says(password: str) -> None:
    address = f"postgresql://usr:{password}@db.example:5432/sales"
    said = [address, *re.split(r"[@:/]", address), f"invalid port {password[3:]}@db"]
    for read in (sa.make_url, urlsplit):
        try:
            said.append(repr(read(address)))
            said.append(str(getattr(read(address), "port", "")))
        except ValueError as error:
            said.append(str(error))

    shown = [redact(text, [address]) for text in said]

    for piece in PIECES:
        assert not any(piece in text for text in shown), shown
    assert redact("user usr of sales at db.example", [address]) == "user usr of sales at db.example"
    assert without_credentials(f"{address} failed") == "postgresql://db.example:5432/sales failed"


@pytest.mark.parametrize("store", ["source", "ledger"])
def test_a_password_among_the_options_of_an_address_is_not_shown(
    tmp_path: Path, store: str
) -> None:
    file = tmp_path / "keepfit.yaml"
    file.write_text(
        "name: a\ntarget: y\n"
        "source: {kind: sql, url: 'postgresql://me@db/x?password=${PW}&passkey=Zq7x', table: t}\n"
        "ledger: {url: 'postgresql://me@db/x?connect_timeout=3&password=${PW}'}\n"
    )
    shown = _address(load_pipeline(file, {"PW": "kV9p"}), store)

    assert "db/x" in shown
    assert not any(piece in shown for piece in PIECES)


def test_the_path_of_an_alerts_address_is_secret() -> None:
    address = "https://hooks.example/services/T0000AAAA/Xy12Zw34Xy12"
    assert "Xy12Zw34Xy12" not in redact("POST /Xy12Zw34Xy12 refused", [address])
    assert "a" not in secret_parts("a")


@pytest.mark.parametrize("scheme", ["http", "https", "postgresql"])
@pytest.mark.parametrize("password", PASSWORDS)
def test_a_prefect_api_that_does_not_answer_is_named_without_its_password(
    scheme: str, password: str
) -> None:
    address = f"{scheme}://usr:{password}@127.0.0.1:1/api"
    assert not answers(address, 0.2)
    with pytest.raises(Exception, match="does not answer") as refused:
        check_configured(address)
    assert not any(piece in str(refused.value) for piece in (*PIECES, "usr"))


@errors_without(["postgresql://usr:Zq7x@kV9p@db/sales"])
def failing(error: Exception, cause: Exception) -> None:
    """Raise an error that came of another."""
    try:
        raise cause
    except type(cause):
        raise error  # noqa: B904 - a library's errors have causes too


@pytest.mark.parametrize("cause", [LookupError("odd"), OSError("no host kV9p@db")])
@pytest.mark.parametrize(
    "error",
    [ValueError("port Zq7x"), SourceError("at kV9p", "see Zq7x"), TransientError("busy: Zq7x"),
     TypeError("plain")],
)  # fmt: skip
def test_no_error_leaves_with_a_part_of_a_secret_nor_does_its_cause(
    error: Exception, cause: Exception
) -> None:
    with pytest.raises(Exception, match=r"\*\*\*|plain") as left:
        failing(error, cause)

    shown = "".join(traceback.format_exception(left.value))
    assert not any(piece in shown for piece in ("Zq7x", "kV9p")), shown
    kept = isinstance(error, KeepfitError | TypeError)
    assert type(left.value) is (type(error) if kept else InfrastructureError)
    assert ("odd" in shown) == (kept and isinstance(cause, LookupError))


def test_a_long_text_that_somebody_made_for_it_takes_no_time() -> None:
    # Of 400 such marks a pattern took 10 s, eight times as long for each doubling.
    began = time.process_time()
    for mark in ("?pass", "&token", "://"):
        assert without_credentials(mark * 5_000) == mark * 5_000
    assert time.process_time() - began < 2
    text = "http://me:pw@h/x?a=1&token=t=u&b=2 ?key=5 'api?my_secret=7' ?a=1?key=2"
    hidden = "http://h/x?a=1&token=***&b=2 ?key=*** 'api?my_secret=***' ?a=1?key=***"
    assert without_credentials(text) == hidden
