"""script/server as a person uses it: start, read the hints, Ctrl-C."""

import os
import re
import signal
import subprocess
import unittest

import harness

SCRIPT = os.path.join(harness.ROOT, "script", "server")
# A device that no driver serves, in place of /dev/fuse.
HIDE_FUSE = 'mknod nodev c 240 7777; mount --bind nodev /dev/fuse && exec "$@"'


@unittest.skipIf(
    not os.path.exists(os.path.join(harness.BUILD, "build.ninja")),
    "tstd is not in a build directory",
)
class ScriptServer(harness.StoreTest):
    def launch(self, *arguments, before=()):
        """Starts the script from a directory that is not its own, in a
        process group of its own, as a terminal would."""
        self.port = harness.free_port()
        command = [*before, SCRIPT, "--port", str(self.port), "--data", "d", *arguments]
        self.log = self.path("output")
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.dir,
                env={**os.environ, "BUILD": harness.BUILD},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def output(self):
        return harness.read_file(self.log).decode("utf-8", "replace")

    def wait_for_hints(self, process):
        harness.wait_until(
            lambda: "Ctrl-C stops it" in self.output() or process.poll() is not None,
            "the hints of script/server",
        )
        self.assertIsNone(process.poll(), self.output())

    def hinted_lines(self):
        return re.findall(r"^  (.*)$", self.output(), re.M)

    def ctrl_c(self, process):
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(process.wait(harness.DEADLINE_S), 0, self.output())
        self.assertEqual(harness.mounts_below(self.dir), [])

    @harness.needs_fuse
    def test_its_hints_work_when_typed_and_ctrl_c_unmounts(self):
        process = self.launch("--mount", "m")
        self.wait_for_hints(process)
        shell = " && ".join(self.hinted_lines())
        done = harness.run("bash", "-e", "-c", shell, cwd=self.dir)
        self.assertEqual(done.stdout, b"OK\nhellohi\n\ngreeting\n")
        self.ctrl_c(process)

    def test_without_a_mount_it_hints_at_resp_alone(self):
        process = self.launch("--mount", "")
        self.wait_for_hints(process)
        shell = " && ".join(self.hinted_lines())
        done = harness.run("bash", "-e", "-c", shell, cwd=self.dir)
        self.assertEqual(done.stdout, b"OK\nhello\n")
        self.ctrl_c(process)

    @harness.needs_root
    def test_without_dev_fuse_it_says_so_and_serves_resp(self):
        unshare = ("unshare", "-m", "sh", "-c", HIDE_FUSE, "sh")
        probe = harness.run(*unshare, "true", check=False, cwd=self.dir)
        if probe.returncode != 0 or not os.path.exists("/dev/fuse"):
            self.skipTest("/dev/fuse cannot be hidden here")
        process = self.launch("--mount", "m", before=unshare)
        self.wait_for_hints(process)
        self.assertIn("fuse", self.output().lower())
        self.assertIn("It is not mounted", self.output())
        self.ctrl_c(process)

    def test_sigterm_to_the_script_alone_is_enough(self):
        process = self.launch("--mount", "m")
        self.wait_for_hints(process)
        process.terminate()
        self.assertEqual(process.wait(harness.DEADLINE_S), 0, self.output())
        self.assertEqual(harness.mounts_below(self.dir), [])

    def test_a_port_in_use_fails_and_leaves_no_mount(self):
        server = self.server()
        process = self.launch("--mount", "m", "--port", str(server.port))
        self.assertGreater(process.wait(harness.DEADLINE_S), 0)
        self.assertNotIn("Ctrl-C", self.output())
        self.assertEqual(harness.mounts_below(self.dir), [])

    def test_help_starts_nothing(self):
        done = harness.run(SCRIPT, "--help", cwd=self.dir)
        self.assertIn(b"--mount", done.stdout)
        self.assertEqual(os.listdir(self.dir), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
