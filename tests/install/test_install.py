"""The installed library: what is there, what it exports, and that README's
example compiles and runs against it."""

import os
import re
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
import harness  # noqa: E402

README = os.path.join(harness.ROOT, "README.md")
WARNINGS = ["-std=c17", "-Wall", "-Wextra", "-Werror", "-Wpedantic"]
# What `ldd` may name beside the C library and the loader.
FOREIGN = ("uv", "fuse", "ssl", "hiredis")


def readme_blocks(language):
    """The fenced blocks of README.md in that language."""
    text = harness.read_file(README).decode()
    return re.findall(r"^```%s\n(.*?)^```$" % language, text, re.M | re.S)


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="toon-install-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        command = ["meson", "install", "-C", harness.BUILD, "--no-rebuild", "--destdir", cls.dir]
        harness.run(*command)
        found = harness.run("find", cls.dir, "-name", "toonstore.pc").stdout
        cls.pc = found.decode().strip()
        text = harness.read_file(cls.pc).decode()
        prefix = re.search(r"^prefix=(.*)$", text, re.M).group(1)
        cls.prefix = cls.dir + prefix
        cls.lib = os.path.dirname(os.path.dirname(cls.pc))

    def pkg_config(self, *words):
        """pkg-config's answer, as if the prefix were the real one."""
        command = ["pkg-config", "--define-variable=prefix=" + self.prefix]
        done = harness.run(*command, *words, self.pc)
        return done.stdout.decode().split()

    def run_installed(self, *command, **options):
        environment = {**os.environ, "LD_LIBRARY_PATH": self.lib}
        return harness.run(*command, env=environment, **options)

    def compile(self, source, name, *flags, compiler="cc"):
        program = os.path.join(self.dir, name)
        harness.run(compiler, *flags, source, "-o", program, *self.link_flags)
        return program

    def test_everything_is_installed(self):
        for name in ("tstd", "tstfs", "tst"):
            program = os.path.join(self.prefix, "bin", name)
            self.assertTrue(os.access(program, os.X_OK), program)
            self.assertIn(name.encode(), self.run_installed(program, "--help").stdout)
        for name in ("libtoonstore.a", "libtoonstore.so"):
            self.assertTrue(os.path.exists(os.path.join(self.lib, name)), name)
        headers = os.listdir(os.path.join(self.prefix, "include"))
        self.assertIn("toonstore.h", headers)
        self.assertLessEqual(set(headers), {"toonstore.h", "toon.h"})

    def test_the_shared_library_exports_its_own_names_alone(self):
        library = os.path.join(self.lib, "libtoonstore.so")
        symbols = harness.run("nm", "-D", "--defined-only", library).stdout.decode()
        names = {line.split()[-1].split("@")[0] for line in symbols.splitlines()}
        header = harness.read_file(os.path.join(harness.ROOT, "src", "toonstore.h"))
        promised = set(
            re.findall(r"^TOON_API\b[^;]*?\b(toon_\w+)\(", header.decode(), re.M)
        )
        self.assertGreater(len(promised), 30)
        self.assertEqual(promised - names, set())
        self.assertEqual({n for n in names if not n.startswith("toon_")}, set())

    def test_the_shared_library_has_a_soname_and_few_needs(self):
        library = os.path.join(self.lib, "libtoonstore.so")
        dynamic = harness.run("readelf", "-d", library).stdout.decode()
        soname = re.search(r"SONAME.*\[(libtoonstore\.so\.\d+)\]", dynamic)
        self.assertIsNotNone(soname)
        self.assertTrue(os.path.exists(os.path.join(self.lib, soname.group(1))))
        for needed in re.findall(r"NEEDED.*\[lib(\w+)", dynamic):
            self.assertNotIn(needed.rstrip("0123456789"), FOREIGN)

    def test_readmes_example_runs_against_the_shared_library(self):
        self.link_flags = self.pkg_config("--cflags", "--libs")
        self.example("shared")

    def test_readmes_example_runs_against_the_static_library(self):
        flags = self.pkg_config("--cflags", "--libs", "--static")
        archive = os.path.join(self.lib, "libtoonstore.a")
        self.link_flags = [archive if f == "-ltoonstore" else f for f in flags]
        self.assertIn(archive, self.link_flags)
        program = self.example("static")
        self.assertNotIn(b"libtoonstore", harness.run("ldd", program).stdout)

    def example(self, name):
        """Compiles README's one C program; its output is what README says."""
        (code,) = [block for block in readme_blocks("c") if "int main" in block]
        self.assertLessEqual(len(code.splitlines()), 45)
        source = os.path.join(self.dir, name + ".c")
        harness.write_file(source, code.encode())
        program = self.compile(source, name, *WARNINGS)
        where = os.path.join(self.dir, "run-" + name)
        os.mkdir(where)
        printed = self.run_installed(program, cwd=where).stdout.decode()
        self.assertIn(printed, readme_blocks("text"))
        return program

    @unittest.skipIf(not shutil.which("c++"), "there is no C++ compiler")
    def test_the_header_is_good_cpp(self):
        self.link_flags = self.pkg_config("--cflags", "--libs")
        source = os.path.join(self.dir, "header.cc")
        code = b"#include <toonstore.h>\nint main() { return toon_close(nullptr); }\n"
        harness.write_file(source, code)
        program = self.compile(source, "cpp", "-Wall", "-Werror", compiler="c++")
        self.run_installed(program)


if __name__ == "__main__":
    unittest.main(verbosity=2)
