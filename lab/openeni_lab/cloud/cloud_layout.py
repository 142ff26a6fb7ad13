"""The folders, processes and clients' settings of one OpenStack of a lab.

It is a real control plane: keystone, placement, neutron, glance and all of nova run as five
processes on a private MariaDB, in the lab's network namespace. They and the lab's people use the
catalog's internal endpoints, on its loopback; nodes use the public ones, on the nodes' gateway.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab import layout

REGION: Final = "RegionOne"
KEYSTONE_URL: Final = f"http://127.0.0.1:{layout.KEYSTONE_PORT}/v3"
PUBLIC_KEYSTONE_URL: Final = f"http://{layout.NODES_GATEWAY}:{layout.KEYSTONE_PORT}/v3"
DATABASES: Final = (
    "keystone", "neutron", "nova_api", "nova", "nova_cell0", "placement", "glance",
)  # fmt: skip
PLUGINS: Final = Path(__file__).parent / "plugins"


@dataclass(frozen=True)
class WsgiService:
    """One uWSGI process. The number of threads was measured to suffice."""

    name: str
    port: int
    module: str
    threads: int


SERVICES: Final = (
    WsgiService("keystone", layout.KEYSTONE_PORT, "keystone.wsgi.api", 3),
    WsgiService("placement", layout.PLACEMENT_PORT, "placement.wsgi.api", 4),
    WsgiService("neutron", layout.NEUTRON_PORT, "neutron.wsgi.api", 3),
    WsgiService("glance", layout.GLANCE_PORT, "glance.wsgi.api", 2),
    WsgiService("nova", layout.NOVA_PORT, "nova_all", 8),
)


@dataclass(frozen=True)
class Secrets:
    """Generated with each template. The database and all users share `password`."""

    password: str
    credential_id: str  # the application credential of cloud `openeni`
    credential_secret: str


@dataclass(frozen=True)
class CloudLayout:
    """One OpenStack: its folder, and the Python environment that it is installed in."""

    folder: Path
    venv: Path
    lab_state: Path
    hosts: tuple[str, ...]

    @property
    def etc(self) -> Path:
        return self.folder / "etc"

    @property
    def database(self) -> Path:
        return self.folder / "mysql"

    @property
    def socket(self) -> Path:
        return self.folder / "mysql.sock"

    @property
    def secrets_file(self) -> Path:
        return self.folder / "secrets.json"

    def program(self, name: str) -> str:
        return str(self.venv / "bin" / name)

    def environment(self) -> dict[str, str]:
        """Return the environment of every service and management command."""
        return {
            "PATH": f"{self.venv}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(PLUGINS),
            "OPENENI_LAB_STATE": str(self.lab_state),
            "OPENENI_LAB_HOSTS": ",".join(self.hosts),
            "OS_KEYSTONE_CONFIG_DIR": str(self.etc / "keystone"),
            "OS_KEYSTONE_CONFIG_FILES": "keystone.conf",
            "OS_PLACEMENT_CONFIG_DIR": str(self.etc / "placement"),
            "OS_NEUTRON_CONFIG_DIR": str(self.etc / "neutron"),
            "OS_NEUTRON_CONFIG_FILES": "neutron.conf;ml2_conf.ini",
            "OS_NOVA_CONFIG_DIR": str(self.etc / "nova"),
            "OS_NOVA_CONFIG_FILES": "api-paste.ini;nova.conf",
            "OS_GLANCE_CONFIG_DIR": str(self.etc / "glance"),
            "OS_GLANCE_CONFIG_FILES": "glance-api.conf",
            "XDG_CACHE_HOME": str(
                self.folder / "cache"
            ),  # of stevedore; the default is in root's home
            "no_proxy": "127.0.0.1,localhost",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def service_command(self, service: WsgiService) -> list[str]:
        """Return uWSGI's command, without --master: Nova's threads would not survive its fork."""
        return [
            self.program("uwsgi"),
            f"--http-socket=0.0.0.0:{service.port}",
            f"--module={service.module}",
            "--callable=application",
            f"--threads={service.threads}",
            "--enable-threads",
            "--need-app",
            "--die-on-term",
            "--thunder-lock",
            "--http-keepalive",
            "--buffer-size=65535",
            "--add-header=Connection: close",
            "--disable-logging",
            "--pyargv=",
        ]

    def database_command(self) -> list[str]:
        """Return MariaDB's command, without flushes: its data does not outlive the lab."""
        return [
            "mariadbd",
            "--no-defaults",
            "--user=root",
            f"--datadir={self.database}",
            f"--socket={self.socket}",
            f"--pid-file={self.folder / 'mysql.pid'}",
            f"--port={layout.MARIADB_PORT}",
            "--bind-address=127.0.0.1",
            "--skip-ssl",
            "--skip-log-bin",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
            "--innodb-buffer-pool-size=96M",
            "--innodb-log-file-size=48M",
            "--performance-schema=OFF",
            "--max-connections=400",
            "--character-set-server=utf8mb4",
        ]


def clouds(secrets: Secrets) -> dict[str, object]:
    """Return clouds.yaml: `admin` and `demo` by password, `openeni` by application credential."""
    named = {name: _user_cloud(name, secrets.password) for name in ("admin", layout.CLOUD_PROJECT)}
    operator = {
        "region_name": REGION,
        "interface": "internal",
        "auth_type": "v3applicationcredential",
        "auth": {
            "auth_url": KEYSTONE_URL,
            "application_credential_id": secrets.credential_id,
            "application_credential_secret": secrets.credential_secret,
        },
    }
    return {"clouds": {**named, "openeni": operator}}


def _user_cloud(name: str, password: str) -> dict[str, object]:
    auth = {
        "auth_url": KEYSTONE_URL,
        "username": name,
        "password": password,
        "project_name": name,
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    return {"region_name": REGION, "interface": "internal", "auth": auth}
