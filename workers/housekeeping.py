"""A pod's housekeeping node `agent@pod`: registers, beats, wakes slots, removes directories."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from celery.signals import worker_shutting_down

from iacq import bootstrap, log, tasks
from iacq.bootstrap import measured
from iacq.bootstrap.measured import Pulse
from iacq.errors import IacqError, InvalidInput
from iacq.messages import agent_queue
from iacq.services import agents, key_check
from iacq.services.core import Core
from iacq.settings import Settings
from iacq.store import pods
from iacq.store.pods import Registration

if TYPE_CHECKING:
    from iacq.keeper.child import ChildContext
    from iacq.services.room import PodRoom

logger = log.get(__name__)


def run(settings: Settings, pod: Registration, context: ChildContext) -> None:
    """Be the housekeeping node until SIGTERM. Called in a freshly forked process."""
    core = bootstrap.worker_core(settings, pool_size=2)
    app = bootstrap.worker_app(settings)
    bells = dict(context.bells)
    pulse = Pulse(core.clock.monotonic)
    measured.serve_agent(core, app.refusals, pulse.silent)
    over = threading.Event()
    worker_shutting_down.connect(lambda **_: over.set(), weak=False)
    clean, room = bootstrap.pod_cleaner(core, pod)
    rounds = threading.Thread(target=_beat, args=(core, pod, bells, over, pulse, room), name="beat", daemon=True)
    rounds.start()
    tasks.register_housekeeping(app, bells, clean)
    node = bootstrap.worker_node(app, f"agent@{pod.pod_name}", agent_queue(pod.pod_name))
    node.start()
    over.set()
    rounds.join(timeout=settings.heartbeat + 1)
    try:
        agents.leave(core, pod)
    except IacqError as error:
        logger.warning("could not say goodbye: %s", error.message)
    sys.exit(node.exitcode)


def _beat(
    core: Core, pod: Registration, bells: dict[int, int], over: threading.Event, pulse: Pulse, room: PodRoom
) -> None:
    """Register, then say every few seconds that the pod is there; register anew whenever it counts as gone."""
    while True:
        try:
            if not core.database.read(pods.is_registered, pod.pod_name, pod.agent_id) and not over.is_set():
                key_check.require(core.database, core.sealer)  # a pod that could read nothing gets no work
                agents.register(core, pod)
                for slot_id in bells:
                    tasks.ring_bell(bells, slot_id)
            core.database.run(pods.beat, pod.pod_name, pod.agent_id)
            pulse.beat()
            room.tend()
        except InvalidInput as error:
            logger.critical("%s (%s)", error.message, error.hint)
            if not pulse.heard:  # it can do nothing here, now that the database answers: the pod stops
                os.kill(os.getppid(), signal.SIGTERM)
                return
        except IacqError as error:
            logger.warning("no heartbeat: %s", error.message)
        except OSError as error:
            logger.warning("the room on the disk is not known: %s", error)
        except Exception:  # the next one may succeed: if this thread ended, the pod would be given up
            logger.exception("no heartbeat")
        if over.wait(core.settings.heartbeat):
            return
