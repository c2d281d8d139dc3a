"""Configuration files of OpenStack's services, in one directory, on SQLite, without a broker.

Imported by Porter and by `prepare.py`, which the services' own Python runs: standard library only.
"""

from __future__ import annotations

import base64
import configparser
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REGION = "RegionOne"
ADMIN_PASSWORD = "lab"  # of a cloud that lives for one test, on an address of this machine
SERVICES = ("keystone", "placement", "glance", "neutron", "nova", "metadata")
QUIET = "WARNING"


@dataclass(frozen=True)
class Place:
    """Where the services lie and listen."""

    directory: Path
    venv: Path
    address: str
    ports: Mapping[str, int]
    metadata_secret: str = ""

    def url(self, service: str) -> str:
        return f"http://{self.address}:{self.ports[service]}"

    def file(self, service: str) -> Path:
        # Glance takes no other name than this one.
        name = "glance-api" if service == "glance" else service
        return self.directory / service / f"{name}.conf"

    def database(self, name: str) -> str:
        return f"sqlite:///{self.directory}/{name}.sqlite"


def write(place: Place) -> None:
    """All files, one directory a service, with fresh token keys."""
    sections = {
        "keystone": _keystone(place),
        "placement": _placement(place),
        "glance": _glance(place),
        "neutron": _neutron(place),
        "nova": _nova(place),
    }
    for service, content in sections.items():
        path = place.file(service)
        path.parent.mkdir(parents=True, exist_ok=True)
        content.setdefault("DEFAULT", {})["default_log_levels"] = (
            f"amqp={QUIET},sqlalchemy={QUIET},oslo.messaging={QUIET},urllib3.connectionpool={QUIET}"
        )
        parser = configparser.RawConfigParser(default_section="")
        parser.read_dict(content)
        with path.open("w") as file:
            parser.write(file)
    for service, name in (("nova", "api-paste.ini"), ("glance", "glance-api-paste.ini")):
        text = (place.venv / "etc" / service / name).read_text()
        (place.directory / service / name).write_text(text)
    for kind in ("fernet", "credential"):
        keys = place.directory / "keystone" / kind
        keys.mkdir(mode=0o700, exist_ok=True)
        for number in ("0", "1"):
            (keys / number).write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
            (keys / number).chmod(0o600)


Sections = dict[str, dict[str, str]]


def _account(place: Place) -> dict[str, str]:
    return {
        "auth_type": "password",
        "auth_url": place.url("keystone"),
        "username": "admin",
        "password": ADMIN_PASSWORD,
        "project_name": "admin",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "region_name": REGION,
    }


def _tokens(place: Place, service_type: str) -> dict[str, str]:
    """What checks callers' tokens; `service_type` is what access rules are compared with."""
    return {
        **_account(place),
        "www_authenticate_uri": place.url("keystone"),
        "service_type": service_type,
        "service_token_roles_required": "true",
    }


def _keystone(place: Place) -> Sections:
    keys = place.directory / "keystone"
    return {
        "database": {"connection": place.database("keystone")},
        "token": {"provider": "fernet"},
        "fernet_tokens": {"key_repository": f"{keys}/fernet"},
        "fernet_receipts": {"key_repository": f"{keys}/fernet"},
        "credential": {"key_repository": f"{keys}/credential"},
        # Strong hashes only cost time here: the password is no secret.
        "identity": {"password_hash_rounds": "4"},
    }


def _placement(place: Place) -> Sections:
    return {
        "api": {"auth_strategy": "keystone"},
        "placement_database": {"connection": place.database("placement")},
        "keystone_authtoken": _tokens(place, "placement"),
    }


def _glance(place: Place) -> Sections:
    return {
        "DEFAULT": {"enabled_backends": "fs:file"},
        "database": {"connection": place.database("glance")},
        "glance_store": {"default_backend": "fs"},
        "fs": {"filesystem_store_datadir": f"{place.directory}/images"},
        "paste_deploy": {
            "flavor": "keystone",
            "config_file": f"{place.directory}/glance/glance-api-paste.ini",
        },
        "keystone_authtoken": _tokens(place, "image"),
        "oslo_concurrency": {"lock_path": f"{place.directory}/locks"},
    }


def _neutron(place: Place) -> Sections:
    return {
        "DEFAULT": {
            "core_plugin": "ml2",
            "service_plugins": "router",
            "transport_url": "fake:/",
            "auth_strategy": "keystone",
            "state_path": f"{place.directory}/neutron",
            "api_paste_config": f"{place.venv}/etc/neutron/api-paste.ini",
            "notify_nova_on_port_status_changes": "false",
            "notify_nova_on_port_data_changes": "false",
            # One L2 agent is made up (see `services.py`): it must not grow old.
            "agent_down_time": "2000000",
        },
        "database": {"connection": place.database("neutron")},
        "ml2": {
            "type_drivers": "local,flat",
            "tenant_network_types": "local",
            "mechanism_drivers": "openvswitch",
            "extension_drivers": "port_security",
        },
        "ml2_type_flat": {"flat_networks": "*"},
        "keystone_authtoken": _tokens(place, "network"),
        "oslo_concurrency": {"lock_path": f"{place.directory}/locks"},
    }


def _nova(place: Place) -> Sections:
    return {
        "DEFAULT": {
            "transport_url": "fake:/",
            "compute_driver": "fake.FakeDriver",
            "state_path": f"{place.directory}/nova",
            "host": HYPERVISOR,
            "heal_instance_info_cache_interval": "2",  # so it sees ports that were changed
            "my_ip": place.address,
        },
        "api": {"auth_strategy": "keystone"},
        "wsgi": {"api_paste_config": f"{place.directory}/nova/api-paste.ini"},
        "api_database": {"connection": place.database("nova_api")},
        "database": {"connection": place.database("nova")},
        "keystone_authtoken": _tokens(place, "compute"),
        "placement": _account(place),
        "neutron": {
            **_account(place),
            "service_metadata_proxy": "true",
            "metadata_proxy_shared_secret": place.metadata_secret,
        },
        "glance": {"api_servers": place.url("glance")},
        # Nova asks Neutron and Glance in its caller's name; the second token tells them that it is
        # Nova who asks, so that a caller's access rules need not allow what only Nova does.
        "service_user": {**_account(place), "send_service_user_token": "true"},
        "workarounds": {"disable_deep_image_inspection": "true"},
        "oslo_concurrency": {"lock_path": f"{place.directory}/locks"},
        "vnc": {"enabled": "false"},
        "scheduler": {"workers": "1"},
        "conductor": {"workers": "1"},
    }


HYPERVISOR = "node1"
