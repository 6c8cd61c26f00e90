"""The push of a finished folder, with every refusal of the hub in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id

from ..errors import EnvironmentFailure, UserError
from ..outside.failures import NETWORK, first_line

_SAID = {
    401: "the hub does not accept the token; log in with `hf auth login`, or set HF_TOKEN",
    403: "the token has no right to write there; use one with the role `write`, or another name",
    404: "there is no such user or organisation, or the token cannot see it",
}


@dataclass(frozen=True)
class Target:
    """A repository that may be pushed to.

    Attributes:
        api: the hub's client.
        repo: as the user gave it.
        private: whether a new one is private.
        exists: whether it is there already.
    """

    api: Any
    repo: str
    private: bool
    exists: bool


def open_target(repo: str, private: bool) -> Target:
    """Check name, token and visibility before anything is written.

    Raises:
        UserError: for a name that cannot be one, or a public repository that is to be private.
        EnvironmentFailure: without a token, without a network, or without the right.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(
            f"--push_to: {repo!r} cannot be a repository, expected NAME or OWNER/NAME "
            f"({first_line(error)})"
        ) from error
    with _asking(repo):
        api: Any = huggingface_hub.HfApi()
        user = api.whoami()["name"]
        full = repo if "/" in repo else f"{user}/{repo}"
        exists = api.repo_exists(full)
        public = exists and not api.model_info(full).private
    if private and public:
        raise UserError(
            f"--private: the repository {full!r} exists and is public; make it private on the hub, "
            "or choose another name"
        )
    return Target(api, full, private, exists)


def push(target: Target, folder: Path) -> str:
    """Push a folder that is complete; return what was pushed, and its address.

    Raises:
        EnvironmentFailure: when the hub refuses, or the network fails; the folder stays.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    remedy = f"; {str(folder)!r} is complete: `hf upload {target.repo} {folder}` pushes it again"
    with _asking(target.repo, remedy):
        made = target.api.create_repo(target.repo, private=target.private or None, exist_ok=True)
        target.api.upload_folder(
            repo_id=target.repo, folder_path=str(folder), commit_message="Export by fgexpo"
        )
    private = " (private)" if target.private else ""
    again = "; it was there already, and its history keeps the old files" if target.exists else ""
    return f"pushed {len(files)} files, {size / 1e6:,.1f} MB, to {made}{private}{again}"


@contextmanager
def _asking(repo: str, remedy: str = "") -> Iterator[None]:
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise EnvironmentFailure(
            "--push_to: there is no token of the Hugging Face hub; log in with `hf auth login`, "
            "or set HF_TOKEN"
        ) from error
    except OfflineModeIsEnabled as error:
        raise EnvironmentFailure(
            f"--push_to: HF_HUB_OFFLINE is set, so nothing can be pushed; unset it{remedy}"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = _SAID.get(status, f"the hub answers with status {status}: {first_line(error)}")
        raise EnvironmentFailure(f"--push_to: {repo!r} was not pushed: {said}{remedy}") from error
    except NETWORK as error:
        raise EnvironmentFailure(
            f"--push_to: {repo!r} was not pushed, the hub cannot be reached "
            f"({first_line(error)}); check the network{remedy}"
        ) from error
