"""The NCLT reader on small files in the published layout, and downloads from a local server."""

import functools
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile

import numpy as np
import pytest

from kfjax.data import fetch, read_data, read_nclt

START = 1_326_030_000_000_000  # microseconds
LATITUDE, LONGITUDE = np.radians([42.293227, -83.709657])


def rows(path, seconds, *columns):
    """Write a file of the data set: microseconds, and the other columns."""
    table = np.column_stack([seconds, *(np.broadcast_to(c, seconds.shape) for c in columns)])
    lines = (
        ",".join([str(START + round(1e6 * row[0])), *(f"{x:.12g}" for x in row[1:])])
        for row in table
    )
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def session(tmp_path):
    """A robot that drives north at 2 m/s and east at 0.5 m/s; its odometry is
    turned by 90 degrees."""
    t = np.arange(0, 10.001, 0.1)
    rows(tmp_path / "groundtruth_2012-01-22.csv", t, 2 * t, 0.5 * t, 0, 0, 0, 0.1)
    odometry = t[t >= 0.95]
    rows(tmp_path / "odometry_mu.csv", odometry, 0.5 * odometry, -2 * odometry, 0, 0, 0, 0)
    fixes = np.array([1.2, 1.9, 4.5, 6.5, 7.5])
    mode = np.array([3, 3, 3, 0, 3])
    latitude = LATITUDE + 2 * fixes / 6.378e6
    longitude = LONGITUDE + 0.5 * fixes / (6.378e6 * np.cos(LATITUDE))
    rows(tmp_path / "gps.csv", fixes, mode, 8, latitude, longitude, np.nan, 0, 2)
    rows(tmp_path / "ms25.csv", t, 0, 0, 0, np.floor(t - 1e-6), 0, -9.8, 0, 0, 0.2)
    return tmp_path


def test_a_session_at_one_hertz(session):
    data = read_nclt(session, sensors=("odometry", "gps"))
    assert (data.size, data.steps) == (1, 9)  # from where both have begun, at 1 s, to 10 s
    np.testing.assert_allclose(data.ys[0, :, :2], np.tile([0.5, -2.0], (9, 1)), atol=1e-4)
    np.testing.assert_allclose(data.xs[0, :, 0], 2 * np.arange(2, 11), rtol=1e-5)
    np.testing.assert_allclose(data.xs[0, :, 2:], np.tile([2.0, 0.5], (9, 1)), atol=1e-4)
    assert data.observed[0, :, 2].tolist() == [
        True,
        False,
        False,
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    # the last fix of each step; the radii of the Earth differ by 1 % from those of the file
    np.testing.assert_allclose(data.ys[0, [0, 3, 6], 2], 2 * np.array([1.9, 4.5, 7.5]), rtol=1e-2)
    np.testing.assert_allclose(data.ys[0, [0, 3, 6], 3], 0.5 * np.array([1.9, 4.5, 7.5]), rtol=1e-2)
    np.testing.assert_allclose(data.us["acceleration"][0, :, 0], np.arange(1, 10), rtol=1e-6)
    np.testing.assert_allclose(data.us["rotation_rate"][0], np.tile([0, 0, 0.2], (9, 1)), rtol=1e-6)
    assert (data.us["dt"] == 1).all()


def test_other_rates_and_the_common_door(session):
    data = read_nclt(session, rate=2.0)
    assert data.steps == 18
    np.testing.assert_allclose(data.ys[0], np.tile([0.5, -2.0], (18, 1)), atol=1e-4)
    assert read_data(session).ys.shape == (1, 9, 2)


def test_gaps_are_not_filled(session):
    path = session / "odometry_mu.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:20] + lines[60:]))  # from 2.9 s to 7 s there is nothing
    truth = session / "groundtruth_2012-01-22.csv"
    truth.write_text(
        "\n".join(line for k, line in enumerate(truth.read_text().splitlines()) if not 17 < k < 77)
    )
    data = read_nclt(session)
    assert data.observed[0, :, 0].tolist() == [
        True,
        True,
        False,
        False,
        False,
        False,
        True,
        True,
        True,
    ]
    assert np.isnan(data.xs[0, :, 0]).tolist() == [False, *5 * [True], False, False, False]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda s: (s / "odometry_mu.csv").unlink(),
            "there is no odometry_mu.csv or odometry_mu_.*expected a session",
        ),
        (lambda s: (s / "gps.csv").write_text("1,2,3\n"), "gps.csv has 3 columns; expected 8"),
        (lambda s: (s / "gps.csv").write_text("a,b\n"), "gps.csv is not a csv file of numbers"),
        (
            lambda s: rows(s / "odometry_mu.csv", np.array([50.0, 60.0]), *6 * [0]),
            "overlap by less than one step",
        ),
        (
            lambda s: rows(s / "ms25.csv", np.array([50.0, 60.0]), *9 * [0]),
            "ms25.csv has no sample at the time",
        ),
    ],
)
def test_what_is_no_session(session, change, text):
    change(session)
    with pytest.raises(ValueError, match=text):
        read_nclt(session, sensors=("gps",))


def test_what_is_no_sensor(session):
    with pytest.raises(ValueError, match="sensors is 'lidar'; expected one of gps, odometry"):
        read_nclt(session, sensors=("lidar",))


class Quiet(http.server.SimpleHTTPRequestHandler):
    requests = 0

    def log_message(self, *args):
        Quiet.requests += 1


@pytest.fixture
def server(tmp_path):
    """A folder, and its address."""
    (folder := tmp_path / "server").mkdir()
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_downloads_are_checked_and_kept(server, tmp_path):
    folder, url = server
    (folder / "a.csv").write_text("1,2\n")
    checksum = hashlib.sha256(b"1,2\n").hexdigest()
    before = Quiet.requests
    for _ in range(2):
        path = fetch(f"{url}/a.csv", checksum.upper(), folder=tmp_path / "kept")
        assert path.read_text() == "1,2\n"
    assert Quiet.requests == before + 1  # the second time nothing is downloaded
    with pytest.raises(ValueError, match=r"(?i)hash|sha256"):
        fetch(f"{url}/a.csv", "0" * 64, folder=tmp_path / "refused")
    assert not list((tmp_path / "refused").glob("*.csv"))
    with pytest.raises(ValueError, match="expected 64 hexadecimal digits"):
        fetch(f"{url}/a.csv", "abc")
    with pytest.raises(OSError, match="404"):
        fetch(f"{url}/absent.csv", checksum, folder=tmp_path / "kept")


def archive_of(kind, members):
    """The bytes of an archive with these members, in the order given."""
    content = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(content, "w") as file:
            for name, text in members.items():
                file.writestr(name, text)
        return content.getvalue()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            if text.startswith("-> "):
                entry.type, entry.linkname = tarfile.SYMTYPE, text[3:]
                file.addfile(entry)
            else:
                entry.size = len(text)
                file.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


def offered(server, name, data):
    """Put a file on the server; return its address and checksum."""
    folder, url = server
    (folder / name).write_bytes(data)
    return f"{url}/{name}", hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_unpacked_into_a_folder_of_its_own(server, tmp_path, kind):
    first = archive_of(kind, {"a.csv": "1", "deep/b.csv": "2"})
    for _ in range(2):
        old = fetch(*offered(server, f"set.{kind}", first), folder=tmp_path / "kept", unpack=True)
    assert sorted(path.name for path in old.rglob("*.csv")) == ["a.csv", "b.csv"]
    second = archive_of(kind, {"a.csv": "3"})
    new = fetch(*offered(server, f"set.{kind}", second), folder=tmp_path / "kept", unpack=True)
    assert {path.name: path.read_text() for path in new.iterdir()} == {"a.csv": "3"}
    assert (old / "deep" / "b.csv").read_text() == "2"


def test_a_file_of_the_same_name_stays(server, tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    for _ in range(2):
        path = fetch(*offered(server, "a.csv", b"1"), folder=tmp_path)
        assert path.read_text() == "1"
    assert (tmp_path / "a.csv").read_text() == "mine"
    assert len(list(tmp_path.glob("*.csv"))) == 2


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/tmp/kfjax_x", "c:\\x", "..\\x"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_members_that_lead_elsewhere_are_refused(server, tmp_path, kind, name):
    place = offered(server, f"set.{kind}", archive_of(kind, {"a.csv": "1", name: "2"}))
    with pytest.raises(ValueError, match=r"has a member .* which leads out of its folder"):
        fetch(*place, folder=tmp_path / "kept", unpack=True)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [f"set.{kind}"]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd"])
def test_links_that_lead_elsewhere_are_refused(server, tmp_path, target):
    data = archive_of("tar.gz", {"link": f"-> {target}", "link/a.csv": "1"})
    with pytest.raises(ValueError, match="cannot be unpacked"):
        fetch(*offered(server, "set.tgz", data), folder=tmp_path / "kept", unpack=True)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["set.tgz"]


def test_what_is_no_archive_is_refused(server, tmp_path):
    for name, data in (("a.zip", b"text"), ("b.tar", b"text"), ("c.csv.gz", gzip.compress(b"1"))):
        with pytest.raises(ValueError, match=f"{name} cannot be unpacked"):
            fetch(*offered(server, name, data), folder=tmp_path / "kept", unpack=True)


def test_a_damaged_or_encrypted_archive_is_refused(server, tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.csv", "1" * 5000)
    whole = content.getvalue()
    damaged, encrypted = bytearray(whole), bytearray(whole)
    damaged[len(b"a.csv") + 30 + 5] ^= 255  # in the compressed data, after the header of 30 bytes
    encrypted[6] |= 1
    encrypted[whole.find(b"PK\1\2") + 8] |= 1
    for name, data in (("damaged.zip", damaged), ("encrypted.zip", encrypted)):
        with pytest.raises(ValueError, match=f"{name} cannot be unpacked"):
            fetch(*offered(server, name, bytes(data)), folder=tmp_path / "kept", unpack=True)


def test_an_address_or_a_checksum_that_is_no_text_is_refused():
    with pytest.raises(ValueError, match="url is None; expected an address that begins"):
        fetch(None, "0" * 64)
    with pytest.raises(ValueError, match="sha256 is 5; expected 64 hexadecimal digits"):
        fetch("http://localhost/a", 5)


def test_a_session_from_the_network(server, session, monkeypatch, tmp_path):
    folder, url = server
    archive = folder / "session.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in session.glob("*.csv"):
            file.write(path, path.name)
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setenv("KFJAX_DATA", str(tmp_path / "data"))
    path = fetch(f"{url}/session.zip", checksum, unpack=True)
    assert path.is_relative_to(tmp_path / "data")
    assert read_nclt(path).steps == 9
    with pytest.raises(
        ValueError, match=r"a.csv is not a known kind of archive; expected one of \.zip"
    ):
        fetch(f"{url}/a.csv", checksum, unpack=True)
