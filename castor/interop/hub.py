"""Models from the Hugging Face hub: what is needed to run them, fetched once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FILES = (  # what we read of a model, and what its users must have read
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "modules.json",
    "config_sentence_transformers.json",
    "*/config.json",
    "*/model.safetensors",
    "README.md",
    "LICENSE*",
)


@dataclass(frozen=True)
class Offer:
    """A model on the hub, before it is fetched."""

    name: str
    licence: str  # as its card says it; "" = it says none
    revision: str  # the commit that a branch or tag means now
    bytes: int  # of the files that we read


def offer(name: str, *, revision: str = "main", endpoint: str | None = None) -> Offer:
    """What the hub has under a name such as "google/gemma-3-4b-it".

    Raises:
        ValueError: there is no such model, it must be asked for first, or the hub is out of reach.
    """
    import fnmatch

    from huggingface_hub import HfApi

    def ask() -> Offer:
        told = HfApi(endpoint=endpoint).model_info(name, revision=revision, files_metadata=True)
        card = told.card_data
        size = sum(
            file.size or 0
            for file in told.siblings or []
            if any(fnmatch.fnmatch(file.rfilename, pattern) for pattern in FILES)
        )
        licence = str(card.get("license") or "") if card is not None else ""
        return Offer(name, licence, told.sha or revision, size)

    return _asked(name, ask)


def pull(found: Offer, folder: Path, *, endpoint: str | None = None) -> None:
    """The files of a model in a folder; those that are there already are not fetched again.

    Raises:
        ValueError: they cannot be fetched; what has come stays for the next try.
    """
    from huggingface_hub import snapshot_download

    def fetch() -> None:
        snapshot_download(
            found.name,
            revision=found.revision,
            local_dir=folder,
            allow_patterns=list(FILES),
            endpoint=endpoint,
        )

    _asked(found.name, fetch)


def _asked[T](name: str, ask: Callable[[], T]) -> T:
    """What the hub answers, or its refusal in words.

    Raises:
        ValueError: it refuses, or does not answer.
    """
    import httpx2  # which the hub's own package speaks with
    from huggingface_hub import errors

    try:
        return ask()
    except errors.GatedRepoError:
        raise ValueError(
            f"{name} must be asked for first: accept its licence at https://huggingface.co/{name} "
            "and set HF_TOKEN, or run `hf auth login`"
        ) from None
    except errors.RepositoryNotFoundError:
        raise ValueError(f"the hub has no model {name}, or none that you may see") from None
    except errors.RevisionNotFoundError:
        raise ValueError(f"{name} has no such revision") from None
    except errors.HFValidationError:
        raise ValueError(f"{name!r} is no name of a model such as google/gemma-3-4b-it") from None
    except (httpx2.HTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the hub cannot be reached for {name} ({reason}); what has come stays, so try again"
        ) from None
