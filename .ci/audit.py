"""Ask pip-audit for known vulnerabilities of what is installed; say so when it could not be asked.

Exits with 1 when there are any, and with 0 when there are none or nobody answered.
"""

import json
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

LIMIT_SECONDS = 300


def main() -> int:
    """Audit this interpreter's packages with a pip-audit in an environment of its own."""
    packages = sysconfig.get_paths()["purelib"]
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        programs = Path(directory) / "bin"
        try:
            _run(programs / "pip", "install", "-q", "pip-audit")
            report = _run(
                programs / "pip-audit",
                "-f",
                "json",
                "--progress-spinner",
                "off",
                "--path",
                packages,
            )
            found = json.loads(report)["dependencies"]
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            sys.stdout.write(f"audit: not possible here ({type(error).__name__})\n")
            return 0
    asked = [one for one in found if "skip_reason" not in one]
    vulnerable = [one for one in asked if one["vulns"]]
    sys.stdout.write(f"audit: {len(asked)} of {len(found)} packages known to the database\n")
    for one in vulnerable:
        names = ", ".join(vulnerability["id"] for vulnerability in one["vulns"])
        sys.stdout.write(f"audit: {one['name']} {one['version']}: {names}\n")
    return 1 if vulnerable else 0


def _run(*command: str | Path) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    if not done.stdout and done.returncode:
        raise subprocess.CalledProcessError(done.returncode, str(command[0]))
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
