"""One Hypothesis profile for every run: the same examples each time, and no deadline on a shared machine.

And what several test files need: a tiny model on disk.
"""

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("ci")


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if wanting:
        import torch

        if not torch.cuda.is_available():
            for item in wanting:
                item.add_marker(pytest.mark.skip(reason="torch sees no GPU here"))


@pytest.fixture(scope="session")
def countdown_model(tmp_path_factory):
    """Folder of a model that can just hold countdown: one layer, random weights."""
    from llm import tasks
    from llm.update.models import build_model, build_tokenizer

    folder = tmp_path_factory.mktemp("countdown")
    symbols = tasks.load("countdown24", {}).symbols
    assert symbols is not None
    tokenizer = build_tokenizer(symbols)
    build_model(tokenizer, width=32, layers=1, heads=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
