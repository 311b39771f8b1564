"""Sums up the ledger."""

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, func, literal_column, null, select

from orchestrator.db.database import Database
from orchestrator.db.effect_tables import UsageRow
from orchestrator.db.tables import TenantRow
from orchestrator.errors import InvalidRequest
from orchestrator.usage.views import Amounts, Bucket, GroupBy, UsageBucket, UsagePage, UsageResult

BUCKET_S: Final = {Bucket.HOUR: 3_600, Bucket.DAY: 86_400}
DEFAULT_BUCKETS: Final = {Bucket.HOUR: 24, Bucket.DAY: 7}
PAGE_BUCKETS: Final = 31  # per response; the rest follows on further pages
GROUPED: Final[dict[GroupBy, Any]] = {
    GroupBy.BASE: UsageRow.base_id,
    GroupBy.JOB: UsageRow.job_id,
    GroupBy.FLAVOR: UsageRow.flavor,
    GroupBy.TENANT: TenantRow.slug,
}


@dataclass(frozen=True)
class Span:
    """Whole buckets from `start` to `end`, in Unix seconds."""

    bucket: Bucket
    start: int
    end: int

    @classmethod
    def of(cls, bucket: Bucket, start: int | None, end: int | None, now: datetime) -> "Span":
        """The buckets that [start, end) touches; by default the last 24 hours or 7 days. Raises: InvalidRequest."""
        size = BUCKET_S[bucket]
        last = int(now.timestamp()) + 1 if end is None else end
        first = last - DEFAULT_BUCKETS[bucket] * size if start is None else start
        if first >= last:
            raise InvalidRequest(f"start ({first}) must lie before end ({last}).", param="start")
        return cls(bucket, max(first // size * size, 0), max(-(-last // size) * size, 0))

    @property
    def seconds(self) -> int:
        """Length of one bucket."""
        return BUCKET_S[self.bucket]

    def page(self) -> "Span":
        """The part that fits one response."""
        return Span(self.bucket, self.start, min(self.end, self.start + PAGE_BUCKETS * self.seconds))


def usage(db: Database, tenant_id: str | None, span: Span, group_by: GroupBy | None) -> UsagePage:
    """Usage by bucket of one tenant, or of all with None."""
    page = span.page()
    minutes = literal_column(str(page.seconds // 60), Integer)  # a bound parameter would differ in SELECT and GROUP BY
    number = (UsageRow.minute // minutes).label("number")
    key: ColumnElement[Any] = null() if group_by is None else GROUPED[group_by]
    query = (
        select(number, key.label("key"), *_SUMS)
        .join(TenantRow, TenantRow.id == UsageRow.tenant_id)
        .where(UsageRow.minute >= page.start // 60, UsageRow.minute < page.end // 60)
        .group_by(number, *(() if group_by is None else (key,)))
        .order_by(number, *(() if group_by is None else (key,)))
    )
    if tenant_id is not None:
        query = query.where(UsageRow.tenant_id == tenant_id)
    with db.read() as session:
        rows = session.execute(query).all()
    results = {number: [_result(row) for row in group] for number, group in groupby(rows, lambda row: int(row.number))}
    buckets = [
        UsageBucket(start_time=start, end_time=start + page.seconds, results=results.get(start // page.seconds, []))
        for start in range(page.start, page.end, page.seconds)
    ]
    more = page.end < span.end
    return UsagePage(data=buckets, has_more=more, next_page=str(page.end) if more else None)


_SUMS: Final = tuple(
    func.sum(column).label(column.key)
    for column in (
        UsageRow.tokens,
        UsageRow.supervised_tokens,
        UsageRow.seat_seconds,
        UsageRow.lost_tokens,
        UsageRow.lost_supervised_tokens,
        UsageRow.lost_seat_seconds,
    )
)


def _result(row: Any) -> UsageResult:
    used = Amounts(
        tokens=int(row.tokens), supervised_tokens=int(row.supervised_tokens), seat_seconds=float(row.seat_seconds)
    )
    billable = Amounts(
        tokens=used.tokens - int(row.lost_tokens),
        supervised_tokens=used.supervised_tokens - int(row.lost_supervised_tokens),
        seat_seconds=max(used.seat_seconds - float(row.lost_seat_seconds), 0.0),
    )
    return UsageResult(key=row.key, used=used, billable=billable)
