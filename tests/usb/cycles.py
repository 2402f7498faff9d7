"""In the guest, for `cargo xtask bench hotplug --cycles N`: two modems pulled out and put back at random moments.

Messages are handed in meanwhile. None may be lost, the agent may keep no descriptor and no thread, and both modems are up
at the end. MODEMFLEET is the program, CYCLES how often. Prints what came of it; ends with 1 where it is not what it should be.
"""

import collections
import os
import random
import re
import subprocess
import tempfile
import time

from bed import PROGRAM, bind, link, make, page, until

FLEET = """
gateway: gw
http: { listen: "127.0.0.1:9810" }
queue: { path: /run/cycles/queue }
brokers: { lab: { url: "mqtt://broker.example.com:1883" } }
modems:
  m0: { match: { imei: "861234560000005" }, sessions: { s: { broker: lab } } }
  m1: { match: { imei: "861234560000013" }, sessions: { s: { broker: lab } } }
routes:
  - { topic: t/1, to: [m1/s, m0/s], policy: failover }
  - { topic: "#", to: [m0/s, m1/s], policy: failover }
"""


def start(command, **more):
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, **({"stdout": subprocess.DEVNULL} | more))


def connected(modem):
    return re.search(rf'\nmodemfleet_mqtt_connected{{modem="m{modem}",session="s"}} 1', page("/metrics"))


def both_connected():
    for modem in 0, 1:
        until(f"m{modem} to connect", lambda: connected(modem))


def holdings(agent):
    """Descriptors, threads and resident KiB of the agent."""
    with open(f"/proc/{agent.pid}/status") as status:
        resident = int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])
    return len(os.listdir(f"/proc/{agent.pid}/fd")), len(os.listdir(f"/proc/{agent.pid}/task")), resident


class Sender:
    """Hands messages in, and counts those that were taken."""

    def __init__(self):
        self.taken = 0

    def send(self, count):
        for _ in range(count):
            until("a message to be taken", lambda: page(f"/api/v1/publish?topic=t/{self.taken % 2}&qos=1", b"n%d" % self.taken))
            self.taken += 1


def cycle(count, sender):
    moments = random.Random(20260)
    for number in range(count):
        modem = moments.randrange(2)
        sender.send(3)
        time.sleep(moments.uniform(0, 2.5))
        bind(modem, "")
        sender.send(2)
        time.sleep(moments.uniform(0, 0.8))
        bind(modem, f"dummy_udc.{modem}")
        sender.send(1)
        if number % 20 == 19:
            print(f"{number + 1} cycles", flush=True)


def main():
    cycles = int(os.environ["CYCLES"])
    os.makedirs("/run/cycles")
    for name, text in ("fleet.yaml", FLEET), ("broker.conf", "listener 1883 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"):
        with open(f"/run/cycles/{name}", "w") as file:
            file.write(text)
    start(["mosquitto", "-c", "/run/cycles/broker.conf"])
    time.sleep(2)
    arrived = tempfile.TemporaryFile("w+")
    subscriber = start(["mosquitto_sub", "-h", "127.0.0.1", "-q", "2", "-t", "t/#"], stdout=arrived)
    for modem in 0, 1:
        make(modem)
        until("the port", lambda: os.path.exists(link(modem)))
    ttys = ["--tty", "/dev/ttyGS2,/dev/ttyGS3", "--tty", "/dev/ttyGS6,/dev/ttyGS7"]
    start([PROGRAM, "sim", "--model", "sim7600", *ttys, "--broker", "127.0.0.1:1883"])
    with open("/run/cycles/log", "w") as log:
        agent = subprocess.Popen([PROGRAM, "run", "--config", "/run/cycles/fleet.yaml"], stdout=log, stderr=log)
    until("the agent", lambda: page("/healthz"))
    both_connected()
    time.sleep(15)  # threads that have nothing to do end after ten seconds
    before = holdings(agent)
    sender = Sender()
    started = time.monotonic()
    cycle(cycles, sender)
    took = time.monotonic() - started
    both_connected()
    until("an empty queue", lambda: "\nmodemfleet_queue_messages 0\n" in page("/metrics"))
    time.sleep(15)
    after = holdings(agent)
    subscriber.terminate()
    subscriber.wait()
    arrived.seek(0)
    seen = collections.Counter(arrived.read().split())
    lost = [f"n{number}" for number in range(sender.taken) if f"n{number}" not in seen]
    twice = sum(seen.values()) - len(seen)
    up = [bool(connected(modem)) for modem in (0, 1)]
    print(f"cycles {cycles} in {took:.0f} s, messages {sender.taken}, lost {len(lost)}, twice {twice}, up {up}")
    print("descriptors, threads, resident KiB:", before, "before,", after, "after")
    counted = re.findall(r"\nmodemfleet_(?:hotplug_events|mqtt_connects|modem_panics)_total{.*", page("/metrics"))
    print(*(line.strip() for line in counted), sep="\n")
    agent.terminate()
    agent.wait()
    if lost or not all(up) or after[0] > before[0] or after[1] > before[1] or agent.returncode != 0:
        with open("/run/cycles/log") as log:
            print(log.read()[-8000:])
        raise SystemExit(1)


main()
