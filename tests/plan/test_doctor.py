"""`rlkit doctor`, here and where something is switched off."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlkit.cli.main import main
from rlkit.plan import doctor

RLKIT = Path(sys.executable).with_name("rlkit")
AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can switch it off")
# A user namespace with many ids, in which no other can be made: its own root writes the switch.
WITHOUT_NAMESPACES = """
import os, sys
from pathlib import Path
from rlkit.verify.sandbox import kernel
asked, ready = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    kernel.unshare(kernel.CLONE_NEWUSER)
    os.write(asked[1], b"x")
    os.read(ready[0], 1)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    os.execv(sys.argv[1], ["rlkit", "doctor", "--json"])
os.read(asked[0], 1)
for name in ("uid_map", "gid_map"):
    Path(f"/proc/{child}/{name}").write_text("0 0 65536")
os.write(ready[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_it_names_the_tier_its_probes_and_what_is_installed(capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sandbox"]["tier"] == found["sandbox"]["tiers"][0]["tier"] == "namespaces"
    probes = found["sandbox"]["tiers"][0]["probes"]
    assert len(probes) >= 10
    assert all(probe["held"] for probe in probes)
    assert found["packages"]["torch"].startswith("2.")
    assert found["machine"]["cpus"] >= 1


def test_the_text_shows_what_the_json_contains(capsys):
    found = doctor.examine_machine()
    text = doctor.as_text(found)
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for probe in found["sandbox"]["tiers"][0]["probes"]:
        assert f"ok    {probe['name']}" in text
        assert probe["name"] in printed
    assert f"sandbox   {found['sandbox']['tier']}" in printed


def test_a_tier_that_does_not_hold_is_reported_with_its_reason_and_what_to_enable():
    probe = {"name": "no socket opens", "held": False, "detail": "escaped: family 2"}
    tier = {"tier": "landlock", "holds": False, "probes": [probe], "reason": "r", "advice": "enable it so"}
    off = {"tier": "namespaces", "holds": False, "probes": [], "reason": "unshare: no", "advice": "sysctl"}
    found = doctor.examine_machine() | {"sandbox": {"tier": None, "tiers": [off, tier]}}
    text = doctor.as_text(found)
    assert "sandbox   NONE" in text
    assert "namespaces  unshare: no\n    to enable it: sysctl" in text
    assert "FAIL  no socket opens escaped: family 2" in text


@AS_ROOT
def test_without_user_namespaces_landlock_is_taken_and_the_switch_is_named():
    done = subprocess.run([sys.executable, "-c", WITHOUT_NAMESPACES, str(RLKIT)], capture_output=True, text=True)
    found = json.loads(done.stdout)
    namespaces, landlock = found["sandbox"]["tiers"][:2]
    assert (done.returncode, found["sandbox"]["tier"], landlock["holds"]) == (0, "landlock", True)
    assert namespaces["holds"] is False
    assert "user.max_user_namespaces" in namespaces["advice"]


@AS_ROOT
def test_where_root_cannot_be_given_up_no_kernel_tier_is_used():
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run([*drop, str(RLKIT), "doctor", "--json"], capture_output=True, text=True)
    tiers = json.loads(done.stdout)["sandbox"]["tiers"]
    for tier in tiers[:2]:
        assert not tier["holds"]
        assert "root cannot be given up" in tier["reason"]
        assert "ordinary user" in tier["advice"]
