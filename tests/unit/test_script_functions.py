"""What is checked of a script's functions before the first request."""

import logging
from types import ModuleType

import pytest

from image_classifier.errors import UserError
from image_classifier.serving import script_functions
from image_classifier.serving.script_functions import FORMS


def script(text: str) -> ModuleType:
    made = ModuleType("inference")
    exec(text, vars(made))
    return made


@pytest.mark.parametrize("name", FORMS)
def test_each_function_is_taken_with_and_without_context_and_in_no_other_form(name: str) -> None:
    form = ", ".join(FORMS[name])
    for good in (form, f"{form}, context", f"{form}, context=None"):
        assert script_functions.check(script(f"def {name}({good}): pass")) == {name}
    for bad in ("", f"{form}, context, more", f"{form}, *, context", f"{form}, **more"):
        with pytest.raises(UserError) as caught:
            script_functions.check(script(f"def {name}({bad}): pass"))
        assert f"write it as {name}({form}) or {name}({form}, context)." in str(caught.value)


def test_a_function_with_its_own_default_in_the_contexts_place_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    script_functions.check(script("def model_fn(model_dir, device='cpu'): pass"))
    assert "device of model_fn in inference.py is given the context, not its default." in caplog.text


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(UserError, match=r"predict_fn in inference.py is not a function; write it as predict_fn\(data"):
        script_functions.check(script("predict_fn = 3"))


def test_transform_fn_stands_alone() -> None:
    with pytest.raises(UserError, match="has transform_fn and input_fn; it can have one or the other"):
        script_functions.check(script("def transform_fn(m, d, c, a): pass\ndef input_fn(d, c): pass"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("predict", "predict_fn"),
        ("modle_fn", "model_fn"),
        ("model_func", "model_fn"),
        ("input_fun", "input_fn"),
        ("outputfn", "output_fn"),
        ("Predict_FN", "predict_fn"),
        ("preprocess", None),
        ("load_labels", None),
        ("decode", None),
    ],
)
def test_a_name_that_looks_misspelt_is_warned_of(
    name: str, meant: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    script_functions.check(script(f"def {name}(a, b): pass"))
    warned = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == ([f"{name} in inference.py is never called; did you mean {meant}?"] if meant else [])


def test_a_helper_beside_the_function_it_resembles_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    script_functions.check(script("def predict(a): pass\ndef predict_fn(data, model): pass"))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_functions_found_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    script_functions.check(script("def model_fn(model_dir): pass\ndef predict_fn(data, model): pass"))
    script_functions.check(script(""))
    assert caplog.messages == [
        "Functions of inference.py: model_fn, predict_fn; the rest is ours.",
        "Functions of inference.py: none; the rest is ours.",
    ]
