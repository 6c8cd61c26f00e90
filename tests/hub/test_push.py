"""The push: only a finished folder, and each refusal of the hub in one sentence. No network."""

import huggingface_hub
import pytest
import torch
from helpers import fit
from httpx2 import ConnectError, Request, Response
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from fgexpo.callbacks import RolloutCheckpoint
from fgexpo.cli import main


class Hub:
    """What `HfApi` is asked, and what it answers."""

    def __init__(self, fails=None, there=None):
        self.asked, self.fails, self.there = [], fails or {}, there

    def _answer(self, name, *given):
        self.asked.append((name, *given))
        if name in self.fails:
            raise self.fails[name]

    def whoami(self):
        self._answer("whoami")
        return {"name": "me"}

    def repo_exists(self, repo):
        self._answer("repo_exists", repo)
        return self.there is not None

    def model_info(self, repo):
        return type("Info", (), {"private": self.there == "private"})

    def create_repo(self, repo, private, exist_ok):
        self._answer("create_repo", repo, private, exist_ok)
        return f"https://huggingface.co/{repo}"

    def upload_folder(self, repo_id, folder_path, commit_message):
        files = sorted(path.name for path in folder_path.iterdir())
        self._answer("upload_folder", repo_id, files)


def refused(status, kind=HfHubHTTPError):
    request = Request("POST", "https://huggingface.co/api")
    return kind(f"{status} says the server\nand more", response=Response(status, request=request))


@pytest.fixture(scope="module")
def checkpoint(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saver = RolloutCheckpoint(dirpath=str(folder))
    fit(model_folder, folder, 1, [saver], trainer={"enable_checkpointing": True})
    return str(folder / "last.ckpt")


@pytest.fixture
def export(checkpoint, tmp_path, monkeypatch, capsys):
    """Runs the command against a hub; returns its status and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(hub, *more, ckpt_path=checkpoint):
        # The real one gives a string of a folder.
        hub.upload = hub.upload_folder
        hub.upload_folder = lambda repo_id, folder_path, commit_message: hub.upload(
            repo_id, tmp_path / folder_path, commit_message
        )
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
        status = main(["export", f"--ckpt_path={ckpt_path}", "--out=mine", *more])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_a_finished_folder_is_pushed(export, tmp_path):
    hub = Hub()
    status, out, _ = export(hub, "--push_to=my-model", "--private=true")
    assert status == 0
    files = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert hub.asked == [
        ("whoami",),
        ("repo_exists", "me/my-model"),
        ("create_repo", "me/my-model", True, True),
        ("upload_folder", "me/my-model", files),
    ]
    assert f"pushed {len(files)} files, 0." in out
    assert out.endswith("MB, to https://huggingface.co/me/my-model (private)\n")
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "# my-model" in card and "--model.name me/my-model" in card


def test_nothing_is_pushed_of_a_folder_that_is_not_written(export, tmp_path):
    hub = Hub()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    assert export(hub, "--push_to=me/x")[0] == 2
    (tmp_path / "mine" / "x").unlink()
    torch.save({"fgexpo": {"files": {}}, "state_dict": {}}, tmp_path / "bad.ckpt")
    assert export(hub, "--push_to=me/x", ckpt_path=tmp_path / "gone.ckpt")[0] == 2
    assert {asked[0] for asked in hub.asked} == {"whoami", "repo_exists"}


BEFORE = [
    (LocalTokenNotFoundError("x"), "there is no token of the Hugging Face hub; log in with `hf "),
    (OfflineModeIsEnabled("x"), "HF_HUB_OFFLINE is set, so nothing can be pushed"),
    (ConnectError("no route"), "the hub cannot be reached (ConnectError: no route); check the ne"),
    (TimeoutError(), "the hub cannot be reached (TimeoutError); check the network"),
    (refused(401), "the hub does not accept the token; log in with `hf auth login`"),
    (refused(500), "the hub answers with status 500: HfHubHTTPError: 500 says the server"),
]


@pytest.mark.parametrize(("error", "words"), BEFORE)
def test_a_hub_that_cannot_be_asked_is_told_before_any_work(export, tmp_path, error, words):
    status, _, err = export(Hub({"whoami": error}), "--push_to=me/x")
    assert status == 1 and err.startswith("error: --push_to: ") and words in err
    assert len(err.splitlines()) == 1 and not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("create_repo", refused(403), "the token has no right to write there"),
        ("create_repo", refused(404, RepositoryNotFoundError), "there is no such user or organ"),
        ("upload_folder", ConnectError("gone"), "the hub cannot be reached (ConnectError: gone)"),
    ],
)
def test_a_push_that_fails_leaves_the_folder(export, tmp_path, call, error, words):
    status, out, err = export(Hub({call: error}), "--push_to=org/x")
    assert status == 1 and words in err and len(err.splitlines()) == 1
    assert "'mine' is complete: `hf upload org/x mine` pushes it again" in err
    assert "wrote mine" in out and (tmp_path / "mine" / "README.md").exists()


def test_names_and_visibility_are_checked_first(export, tmp_path):
    for name in ("a/b/c", "-x", "a b", "x--y"):
        hub = Hub()
        status, _, err = export(hub, f"--push_to={name}")
        assert status == 2 and f"--push_to: {name!r} cannot be a repository" in err
        assert hub.asked == []
    status, _, err = export(Hub(there="public"), "--push_to=me/x", "--private=true")
    assert status == 2 and "the repository 'me/x' exists and is public" in err
    status, _, err = export(Hub(), "--private=true")
    assert status == 2 and "--private is for a repository" in err
    assert not (tmp_path / "mine").exists()
    status, out, _ = export(Hub(there="private"), "--push_to=me/x", "--private=true")
    assert status == 0 and "(private); it was there already, and its history keeps" in out
