"""Gives the files of jobs and previews to encoders and takes in what they report."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from pydantic import ValidationError
from sqlalchemy import and_, exists, select
from sqlalchemy.orm import Session

from orchestrator.cluster.port import Cluster, EncoderGone, HostUnreachable
from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow, EncodingState, PreviewRow
from orchestrator.db.job_tables import JobRow
from orchestrator.encodings.claims import Waiting, claim, load_served, load_waiting, next_served
from orchestrator.encodings.keys import files_of, order_of
from orchestrator.encodings.settle import give_back, machine_failed, renew, settle
from orchestrator.issues.job_report import carry_out
from orchestrator.lifecycle.encoded import SHOWN, WANTED
from orchestrator.lifecycle.retry_policy import UNREADABLE_SPEC, failed
from orchestrator.steps.step import Counts
from orchestrator.tenancy.lock import lock_tenant
from workers.contract.encoding import EncodeLimits, EncodeOrder, EncoderBusy, EncoderReport
from workers.contract.errors import ErrorCode, WorkerError
from workers.contract.failpoints import failpoint
from workers.contract.spec import JobSpec

log = structlog.get_logger()
TAKING: Final = timedelta(seconds=30)
"""An order may be on its way to an encoder for so long."""
AGAIN: Final = timedelta(seconds=2)
"""Pause after an order that an encoder did not take."""


@dataclass(frozen=True)
class Encode:
    """WAITING -> RUNNING -> DONE or FAILED, for the encodings that somebody waits for. No call waits for a file."""

    db: Database
    cluster: Cluster
    encoders: int
    cache_dir: str
    limits: EncodeLimits

    def run_once(self, now: datetime) -> Counts:
        """Take in reports, stop what nobody waits for, give out what waits, and look whether it is done already."""
        running = self._running()
        counts = self._collect(running, now)
        if running:
            counts += self._stop_unwanted(now)
        begun = self._dispatch(now)
        counts["encoding"] += len(begun)
        return +(counts + self._collect(begun, now))

    def _running(self) -> list[EncodingRow]:
        with self.db.read() as session:
            query = select(EncodingRow).where(EncodingRow.state == EncodingState.RUNNING)
            return list(session.scalars(query.order_by(EncodingRow.claimed_at, EncodingRow.key)))

    def _collect(self, running: Sequence[EncodingRow], now: datetime) -> Counts:
        """Take in what each encoder says of what it was given."""
        given: dict[int, list[EncodingRow]] = defaultdict(list)
        for row in running:
            given[row.encoder or 0].append(row)
        counts = Counts()
        for encoder, rows in sorted(given.items()):
            try:
                report = self.cluster.poll_encoder(encoder)
            except EncoderGone:
                counts += self._failed(rows, "the encoder ended", now)
            except (HostUnreachable, WorkerError):
                counts += self._silent(encoder, rows, now)
            else:
                failpoint("encodings.polled")
                counts += self._take(rows, report, now)
        return counts

    def _take(self, rows: Sequence[EncodingRow], report: EncoderReport, now: datetime) -> Counts:
        counts = Counts()
        results = {(result.key, result.attempt): result for result in report.results}
        for row in rows:
            this = (row.key, row.attempt)
            with self.db.write() as session:
                if this in results:
                    counts["encoded" if settle(session, row, results[this], now) else "stale"] += 1
                elif this in report.orders:
                    renew(session, row, report.rows_read if report.orders[0] == this else 0, now)
                elif row.claimed_at is None or row.claimed_at < now - TAKING:
                    give_back(session, row)  # another process answers under the encoder's name, or it never came
                    counts["encoding_lost"] += 1
        return counts

    def _silent(self, encoder: int, rows: Sequence[EncodingRow], now: datetime) -> Counts:
        """Nothing is concluded before the lease is over. What an encoder given up still writes is what any would."""
        over = [row for row in rows if row.lease_until is None or row.lease_until < now]
        if not over:
            return Counts(unreachable=1)
        try:
            self.cluster.stop_encoder(encoder)
        except (HostUnreachable, WorkerError):
            log.warning("encoder not stopped", encoder=encoder)
        return self._failed(over, "the encoder did not answer", now)

    def _failed(self, rows: Sequence[EncodingRow], message: str, now: datetime) -> Counts:
        for row in rows:
            with self.db.write() as session:
                machine_failed(session, row, ErrorCode.ENCODING_FAILED, message, now)
        return Counts(encoding_failed=len(rows))

    def _stop_unwanted(self, now: datetime) -> Counts:
        """Work that nobody waits for: jobs were cancelled or paused, previews are no longer looked at."""
        unwanted = and_(
            EncodingRow.state == EncodingState.RUNNING,
            ~exists().where(WANTED).correlate(EncodingRow),
            ~exists().where(SHOWN, PreviewRow.until > now).correlate(EncodingRow),
        )
        with self.db.read() as session:
            rows = list(session.scalars(select(EncodingRow).where(unwanted)))
        for row in rows:
            try:
                self.cluster.abandon(row.encoder or 0, row.key)
            except (EncoderGone, HostUnreachable, WorkerError):
                log.warning("encoding not stopped", encoder=row.encoder, key=row.key)
            with self.db.write() as session:
                give_back(session, row)
        return Counts(abandoned=len(rows))

    def _dispatch(self, now: datetime) -> list[EncodingRow]:
        """Give each free encoder the files of one job or preview. Returns what it was given."""
        running = self._running()
        taken = {row.encoder for row in running}
        free = [encoder for encoder in range(self.encoders) if encoder not in taken]
        if not free:
            return []
        with self.db.read() as session:
            waiting = load_waiting(session, now)
            served = load_served(session, {job.tenant_id for job in waiting}) if waiting else {}
        busy: dict[str, set[int | None]] = defaultdict(set)
        for row in running:
            busy[row.tenant_id].add(row.encoder)
        chosen = next_served(waiting, {tenant: len(held) for tenant, held in busy.items()}, served, len(free))
        begun: list[EncodingRow] = []
        for encoder, each in zip(free, chosen, strict=False):
            begun += self._begin(encoder, each, now)
        return begun

    def _begin(self, encoder: int, waiting: Waiting, now: datetime) -> list[EncodingRow]:
        orders = self._claim(encoder, waiting, now)
        failpoint("encodings.claimed")
        for order in orders:
            try:
                self.cluster.encode(encoder, order)
            except (EncoderBusy, EncoderGone, HostUnreachable, WorkerError) as error:
                log.warning("encoder took no order", encoder=encoder, error=f"{type(error).__name__}: {error}"[:200])
                self._give_back(order, now + AGAIN)
        failpoint("encodings.sent")
        keys = [order.key for order in orders]
        return [row for row in self._running() if row.key in keys]

    def _claim(self, encoder: int, waiting: Waiting, now: datetime) -> list[EncodeOrder]:
        """The orders for the files that wait, which are marked as given to `encoder`."""
        orders: list[EncodeOrder] = []
        with self.db.write() as session:
            lock_tenant(session, waiting.tenant_id)  # who asks for the same files the other way round waits
            asker = _asker(session, waiting)
            if asker is None:
                return []
            try:
                spec = JobSpec.model_validate(asker.spec)
            except ValidationError:
                _turn_away(session, asker, now)
                return []
            keys = {"training": asker.training_encoding, "validation": asker.validation_encoding}
            for role, dataset in files_of(spec):
                row = session.get(EncodingRow, keys[role] or "")
                if row is None or not _may_begin(row, now) or not claim(session, row, dataset.file_id, encoder, now):
                    continue
                orders.append(order_of(spec, dataset, row.key, row.attempt + 1, row.uri, self.cache_dir, self.limits))
        return orders

    def _give_back(self, order: EncodeOrder, not_before: datetime) -> None:
        with self.db.write() as session:
            row = session.get(EncodingRow, order.key)
            if row is not None and row.attempt == order.attempt:
                give_back(session, row, not_before)


def _asker(session: Session, waiting: Waiting) -> JobRow | PreviewRow | None:
    if waiting.preview:
        return session.get(PreviewRow, waiting.preview)
    return session.scalars(select(JobRow).where(JobRow.seq == waiting.seq)).one()


def _turn_away(session: Session, asker: JobRow | PreviewRow, now: datetime) -> None:
    """End what has a spec of another version: it would be first in every pass, and others would wait behind it."""
    if isinstance(asker, JobRow):
        carry_out(session, asker, failed(ErrorCode.INTERNAL, UNREADABLE_SPEC), now)
    else:
        session.delete(asker)


def _may_begin(row: EncodingRow, now: datetime) -> bool:
    return row.state == EncodingState.WAITING and (row.not_before is None or row.not_before <= now)
