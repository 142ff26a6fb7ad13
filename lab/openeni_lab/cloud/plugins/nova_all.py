"""WSGI module: nova-api with conductor, scheduler and one nova-compute a lab node in one process.

They talk over oslo.messaging's fake:// transport, which exists within a process only. So no message
broker is needed, and 1.2 GiB become 0.7.
"""

import atexit
import os
import shlex
import sys
import traceback
from pathlib import Path

os.environ.setdefault("OS_NOVA_DISABLE_EVENTLET_PATCHING", "true")


def start_services():
    """Start every service of Nova but the API; they live as long as the process."""
    import nova.conf
    import nova.virt
    import os_vif
    from nova import objects, service, utils
    from nova.compute import rpcapi as compute
    from nova.conductor import rpcapi as conductor
    from nova.scheduler import rpcapi as scheduler
    from oslo_privsep import priv_context

    nova.virt.__path__.append(str(Path(__file__).resolve().parent / "virt"))
    own = nova.conf.CONF.host
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    objects.register_all()
    os_vif.initialize()
    objects.Service.enable_min_version_cache()
    wanted = [
        (own, "nova-conductor", conductor.RPC_TOPIC, None),
        (own, "nova-scheduler", scheduler.RPC_TOPIC, None),
    ]
    for host in os.environ["OPENENI_LAB_HOSTS"].split(","):
        wanted.append((host, "nova-compute", compute.RPC_TOPIC, compute.RPC_TOPIC_ALT))
    started = []
    for host, binary, topic, alternative in wanted:
        one = service.Service.create(host=host, binary=binary, topic=topic, topic_alt=alternative)
        one.start()
        started.append(one)
    # futurist's exit hook joins the periodic-task threads, which never end. The hook that was
    # registered last runs first: leave at once, so that the first SIGTERM ends the process.
    atexit.register(os._exit, 0)
    return started


try:
    from nova.wsgi.osapi_compute import application  # parses the configuration, sets up rpc

    SERVICES = start_services()
except BaseException:
    # Half a Nova would keep the port open and never answer.
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)
