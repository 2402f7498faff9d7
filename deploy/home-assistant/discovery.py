#!/usr/bin/env python3
"""Announces the modems of a gateway to Home Assistant: retained MQTT discovery messages, one for each modem.

Asks the running agent for its modems (`GET /api/v1/modems`) and hands one message for each of them in. The modems carry
these messages to the broker, as all others. The entities are fed by the `telemetry` of the fleet file.

    discovery.py                    # all modems, over the routes of the fleet file
    discovery.py --print north      # shows the message of one modem, sends nothing

A second run sends nothing while the messages stay the same: each has an Idempotency-Key of its content.
Needs Python 3.9 and no package. Exit codes: 0 done, 1 the agent refused or does not answer, 2 wrong usage.
"""

import argparse
import hashlib
import http.client
import json
import pathlib
import socket
import string
import sys
import urllib.parse

STATES = ["absent", "identifying", "sim", "searching", "serving", "recovering", "failed"]

# The power of the first network: LTE and 5G have RSRP, 3G has RSCP, 2G has RSSI.
SIGNAL = (
    "{% set s=(value_json.signals|default([])|first)|default({}) %}"
    "{{s.rsrp_dbm|default(s.rscp_dbm)|default(s.rssi_dbm)|default(none)}}"
)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Agent:
    """The HTTP API of the agent."""

    def __init__(self, url, path, token):
        self.url, self.path = url, path
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, method, target, body=None, headers=None):
        """Returns the JSON of an answer; ends the program with the agent's words if it refuses."""
        connection = UnixConnection(self.path) if self.path else self._tcp()
        try:
            connection.request(method, target, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read().decode()
        except OSError as error:
            sys.exit(f"the agent does not answer at {self.path or self.url}: {error}")
        finally:
            connection.close()
        if answer.status >= 300:
            sys.exit(f"{method} {target}: {answer.status}: {text.strip()}")
        try:
            return json.loads(text)
        except ValueError:
            sys.exit(f"{self.path or self.url} is not the agent: {text[:80]!r}")

    def _tcp(self):
        place = urllib.parse.urlsplit(self.url)
        return http.client.HTTPConnection(place.hostname, place.port or 80, timeout=30)


def entity(unique, key, name, template, **more):
    """Returns a sensor; the short keys are those of Home Assistant."""
    return {"p": "sensor", "name": name, "uniq_id": f"{unique}_{key}", "val_tpl": template, **more}


def text_of(key):
    """Returns the template of a text that may be missing."""
    return f"{{{{value_json.{key}|default(none)}}}}"


def topics(options, gateway, modem):
    """Returns the topics of a modem's state and of its `online` and `offline`; the second may be None."""
    try:
        state, status = (
            string.Template(topic).substitute(gateway=gateway, modem=modem) for topic in (options.topic, options.status)
        )
    except (KeyError, ValueError) as error:
        sys.exit(f"--topic or --status: only ${{gateway}} and ${{modem}} are replaced: {error}")
    # The agent's default: `status` in the place of the last level.
    status = status or "/".join([*state.split("/")[:-1], "status"])
    return state, None if status == "none" else status


def message(fleet, modem, options):
    """Returns the discovery message of a modem. A Quectel takes 1,500 bytes: hence the short keys."""
    gateway, name = fleet["gateway"], modem["name"]
    unique = f"mf_{gateway}_{name}"
    known = modem.get("identified", {})
    device = {
        "ids": [f"modemfleet_{gateway}_{name}"],
        "name": f"{gateway} {name}",
        "mf": known.get("manufacturer"),
        "mdl": known.get("model"),
        "sw": known.get("firmware"),
    }
    state, status = topics(options, gateway, name)
    # A SIMCom's will is not retained: without a state for three periods the entities become unavailable.
    old = {"exp_aft": 3 * options.every}
    number = {"stat_cla": "measurement", **old}
    entities = {
        "state": entity(unique, "state", "State", text_of("state"), dev_cla="enum", ops=STATES, **old),
        "signal": entity(
            unique, "signal", "Signal", SIGNAL, dev_cla="signal_strength", unit_of_meas="dBm", **number
        ),
        "operator": entity(unique, "operator", "Operator", text_of("operator"), **old),
        "registration": entity(unique, "registration", "Registration", text_of("registration"), **old),
        "temperature": entity(
            unique,
            "temperature",
            "Temperature",
            text_of("temperature_celsius"),
            dev_cla="temperature",
            unit_of_meas="°C",
            **number,
        ),
    }
    return {
        "dev": {key: value for key, value in device.items() if value},
        "o": {"name": "modemfleet", "sw": fleet["version"]},
        "stat_t": state,
        **({"avty_t": status} if status else {}),
        "cmps": entities,
    }


def arguments():
    parser = argparse.ArgumentParser(
        description="Announces the modems of a gateway to Home Assistant by MQTT discovery.",
        epilog="Exit codes: 0 done, 1 the agent refused or does not answer, 2 wrong usage.",
    )
    parser.add_argument("modem", nargs="*", help="a modem of the fleet file; default: all with sessions")
    parser.add_argument("--url", default="http://127.0.0.1:9810", help="the agent's address (default: %(default)s)")
    parser.add_argument("--socket", metavar="PATH", help="the agent's unix socket, in the place of --url")
    parser.add_argument("--token-file", type=pathlib.Path, metavar="FILE", help="the file of `http.token`")
    parser.add_argument("--prefix", default="homeassistant", help="Home Assistant's discovery prefix (default: %(default)s)")
    parser.add_argument(
        "--topic",
        default="modemfleet/${gateway}/${modem}/state",
        help="`telemetry.topic` of the fleet file (default: %(default)s)",
    )
    parser.add_argument(
        "--every", type=int, default=60, metavar="SECONDS", help="`telemetry.every` of the fleet file (default: %(default)s)"
    )
    parser.add_argument(
        "--status", default="", metavar="TOPIC", help="`telemetry.status` of the fleet file, if it is there; or none"
    )
    parser.add_argument("--session", metavar="NAME", help="send by this session of each modem, not by the routes")
    parser.add_argument("--again", action="store_true", help="send messages that were sent before, too")
    parser.add_argument("--print", action="store_true", help="print topics and messages, send nothing")
    return parser.parse_args()


def main():
    options = arguments()
    token = options.token_file.read_text().strip() if options.token_file else None
    agent = Agent(options.url, options.socket, token)
    fleet = agent.ask("GET", "/api/v1/modems")
    modems = {modem["name"]: modem for modem in fleet["modems"] if modem["sessions"]}
    unknown = [name for name in options.modem if name not in modems]
    if unknown:
        sys.exit(f"no modem with sessions is called {', '.join(unknown)}; there are: {', '.join(modems)}")
    for name in options.modem or modems:
        topic = f"{options.prefix}/device/modemfleet_{fleet['gateway']}_{name}/config"
        found = message(fleet, modems[name], options)
        payload = json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()
        if options.print:
            print(topic, payload.decode())
            continue
        query = {"topic": topic, "qos": 1, "retain": "true"}
        if options.session:
            query["session"] = f"{name}/{options.session}"
        key = hashlib.sha256(json.dumps(query).encode() + payload).hexdigest()
        headers = {} if options.again else {"Idempotency-Key": f"home-assistant-{key[:32]}"}
        answer = agent.ask("POST", f"/api/v1/publish?{urllib.parse.urlencode(query)}", payload, headers)
        print(f"{name}: {answer['id']}, {len(payload)} bytes")


if __name__ == "__main__":
    main()
