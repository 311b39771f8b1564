"""Which steps run in which loop, and in which order: the whole work of an orchestrator on one page."""

from dataclasses import dataclass, field
from typing import Final

from orchestrator.bases.end_waiting import EndWaiting
from orchestrator.bases.review import ReviewBases
from orchestrator.catalogue.entries import Catalogue
from orchestrator.checkpoints.attempt_gc import AttemptGc
from orchestrator.checkpoints.gc import CheckpointGc
from orchestrator.checkpoints.retention import CheckpointRetention
from orchestrator.cluster.port import Cluster
from orchestrator.db.database import Database
from orchestrator.encodings.encode import Encode
from orchestrator.encodings.gc import EncodingGc
from orchestrator.encodings.orphans import OrphanEncodings
from orchestrator.encodings.promote import Promote
from orchestrator.files.gc import FileGc
from orchestrator.files.orphans import OrphanFiles
from orchestrator.files.retention import ExpireFiles
from orchestrator.hosts.reconcile import ReconcileHosts
from orchestrator.hosts.seats import AttachSeats, StopSeats
from orchestrator.hosts.stall_detector import StallLimits
from orchestrator.leadership.elector import ROUNDS_PER_TTL, Elector
from orchestrator.leadership.leader_only import LeaderOnly, RenewLeadership
from orchestrator.lifecycle.deadlines import EnforceDeadlines
from orchestrator.lifecycle.drain import Drain, Shutdown
from orchestrator.lifecycle.reconcile_desired import ReconcileDesired
from orchestrator.loops.health import CONTROL
from orchestrator.loops.runner import Loop
from orchestrator.registry.port import Registry
from orchestrator.registry.publish import Publish
from orchestrator.registry.unpublish import Unpublish
from orchestrator.scheduling.apply import Applier
from orchestrator.scheduling.schedule import Schedule
from orchestrator.settings import Settings
from orchestrator.steps.step import StepSequence
from orchestrator.submission.idempotency import ExpireIdempotencyKeys
from orchestrator.submission.validate import Validate
from orchestrator.uploads.gc import UploadGc
from orchestrator.uploads.orphans import OrphanParts
from orchestrator.webhooks.deliver import DeliverWebhooks
from orchestrator.webhooks.retention import ExpireDeliveries
from orchestrator.webhooks.send import Sender

HOUSEKEEPING_S: Final = 60.0
REVIEW_S: Final = 5.0
ROLE: Final = "loops"
"""One for all loops: its holder polls, places, publishes and collects."""


@dataclass(frozen=True)
class World:
    """What the loops act on, beside the database."""

    cluster: Cluster
    registry: Registry
    catalogue: Catalogue
    settings: Settings
    shutdown: Shutdown = field(default_factory=Shutdown)


def control_steps(
    db: Database, cluster: Cluster, catalogue: Catalogue, settings: Settings, shutdown: Shutdown | None = None
) -> StepSequence:
    """One pass of the control loop, in order."""
    shutdown = shutdown or Shutdown()
    applier = Applier(db, catalogue, settings.cache_dir, settings.lease_ttl_s, settings.orchestrator_timeout_s)
    stall_limits = StallLimits(settings.no_progress_s, settings.slow_phase_s)
    return StepSequence(
        (
            ReconcileHosts(db, cluster, catalogue, settings.lease_ttl_s, stall_limits),
            ReconcileDesired(db),
            Drain(db, shutdown),
            StopSeats(db, cluster),
            AttachSeats(db, cluster),
            EndWaiting(db, catalogue),
            Schedule(applier, settings.host_idle_s, settings.max_bypass_s, rests=shutdown.requested.is_set),
            EnforceDeadlines(db),
        )
    )


def encoding(db: Database, cluster: Cluster, settings: Settings) -> StepSequence:
    """Rows become tokens, then their jobs are queued."""
    encode = Encode(db, cluster, settings.encoders, str(settings.cache_dir), settings.encode_limits)
    return StepSequence((encode, Promote(db)))


def publishing(db: Database, world: World) -> StepSequence:
    """What may wait for the registry."""
    settings = world.settings
    return StepSequence((Publish(db, world.registry, world.catalogue, settings.storage_uri, settings.public_url),))


def webhooks(db: Database, world: World) -> StepSequence:
    """What may wait for tenants' servers."""
    return StepSequence((DeliverWebhooks(db, Sender(world.settings.egress_policy), world.settings.secret_box),))


def housekeeping(db: Database, world: World) -> StepSequence:
    """What may wait for a minute."""
    uploads = UploadGc(db, world.settings.storage_uri)
    return StepSequence(
        (ExpireFiles(db), uploads, ExpireIdempotencyKeys(db), ExpireDeliveries(db), Unpublish(db, world.registry))
    )


def garbage_collection(db: Database, settings: Settings) -> StepSequence:
    """Removes bytes from storage that are no longer needed."""
    retain, attempts = CheckpointRetention(db, settings.keep_checkpoints), AttemptGc(db, settings.leftovers_after_s)
    orphans = (
        OrphanFiles(db, settings.storage_uri, settings.leftovers_after_s),
        OrphanParts(db, settings.storage_uri, settings.leftovers_after_s),
        OrphanEncodings(db, settings.storage_uri, settings.leftovers_after_s),
    )
    encodings = EncodingGc(db, settings.encoded_unused_s)
    return StepSequence((retain, CheckpointGc(db), attempts, *orphans, encodings, FileGc(db)))


def all_loops(role: Elector, db: Database, world: World) -> list[Loop]:
    """Every loop of the process. All but the first act only while the process holds the role, so that one is kept
    until their last pass is over: no other process starts their work.
    """
    settings = world.settings
    often_s = settings.loop_interval_s
    control = lambda led: control_steps(led, world.cluster, world.catalogue, settings, world.shutdown)  # noqa: E731
    validate = lambda led: StepSequence((Validate(led, settings.storage_uri),))  # noqa: E731
    return [
        Loop("role", RenewLeadership(role), settings.role_ttl_s / ROUNDS_PER_TTL, outlasts=True),
        Loop(CONTROL, LeaderOnly(role, db, control, heartbeat=role.heartbeat), often_s),
        Loop("validate", LeaderOnly(role, db, validate), often_s, wakes="encode"),
        Loop(
            "encode", LeaderOnly(role, db, lambda led: encoding(led, world.cluster, settings)), often_s, wakes=CONTROL
        ),
        Loop("publish", LeaderOnly(role, db, lambda led: publishing(led, world)), often_s),
        Loop("bases", LeaderOnly(role, db, lambda led: ReviewBases(led, world.catalogue)), REVIEW_S),
        Loop("webhooks", LeaderOnly(role, db, lambda led: webhooks(led, world)), often_s),
        Loop("housekeeping", LeaderOnly(role, db, lambda led: housekeeping(led, world)), HOUSEKEEPING_S),
        Loop("gc", LeaderOnly(role, db, lambda led: garbage_collection(led, settings)), HOUSEKEEPING_S),
    ]
