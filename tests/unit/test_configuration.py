import pytest
from hypothesis import given
from hypothesis import strategies as st

from iacq.domain import configuration, hcl

S3 = 'terraform {\n  backend "s3" {\n    bucket = "b"\n  }\n}\n'


@pytest.mark.parametrize(
    ("text", "backend", "cloud"),
    [
        ("", None, False),
        (S3, "s3", False),
        ("\ufeff" + S3, "s3", False),
        (S3.replace("\n", "\r\n"), "s3", False),
        ("terraform { \n backend local {}\n}", "local", False),
        ('terraform { backend "http" {} }', "http", False),
        ('terraform {\n  cloud {\n    organization = "o"\n  }\n}', None, True),
        ('# terraform { backend "s3" {} }\n// terraform { backend "s3" {} }', None, False),
        ('/* terraform { backend "s3" {}\n} */ locals {}', None, False),
        ('terraform {\n  # backend "s3" {}\n  required_version = ">= 1"\n}', None, False),
        ('locals {\n  a = "terraform { backend \\"s3\\" {} }"\n}', None, False),
        ('locals {\n  a = <<-EOT\n    terraform {\n    backend "s3" {}\n    }\n  EOT\n}\n' + S3, "s3", False),
        ('locals {\n  a = <<EOT\nterraform {\nbackend "s3" {}\n}\nEOT\n}\n', None, False),
        ('locals {\n  a = "${join("}", ["{", "\\"}"])}}" // "\n}\n' + S3, "s3", False),
        ('locals {\n  a = "$${ not" \n  b = "%%{ not"\n}\n' + S3, "s3", False),
        ('locals {\n  a = "${<<EOT\n}}"}\nEOT\n}"\n}\n' + S3, "s3", False),
        ('module "terraform" {\n  backend = "x"\n}\nresource "terraform" "backend" {}\n', None, False),
        ('terraform {\n  required_providers {\n    backend = { source = "a/b" }\n  }\n}', None, False),
        ('terraform {\n  required_version = ">= 1"\n}\n' + S3, "s3", False),
        ('terraform {\n  backend "s3" {\n    bucket = "b"\n', "s3", False),
        ('locals { a = "unclosed\n}\n' + S3, "s3", False),
        ('resource "x" "y" { ) ] }\n' + S3, "s3", False),
        ("terraform {\n  backend {}\n}", None, False),
    ],
)
def test_backend_of_a_text(text, backend, cloud):
    found = configuration.read({"main.tf": text})
    assert (found.backend, found.cloud) == (backend, cloud)


@pytest.mark.parametrize(
    ("text", "backend", "cloud"),
    [
        ('{"terraform": {"backend": {"s3": {"bucket": "b"}}}}', "s3", False),
        ('{"terraform": [{"required_version": "1"}, {"backend": [{"gcs": {}}]}]}', "gcs", False),
        ('{"terraform": {"cloud": {}}}', None, True),
        ('{"terraform": "backend"}', None, False),
        ("[]", None, False),
        ("{not json", None, False),
        ("[" * 100_000, None, False),
    ],
)
def test_backend_of_json(text, backend, cloud):
    found = configuration.read({"main.tf.json": text})
    assert (found.backend, found.cloud) == (backend, cloud)


def test_override_files_replace_what_the_others_declare():
    local = 'terraform {\n  backend "local" {}\n}\n'
    assert configuration.read({"z.tf": S3, "a_override.tf": local}).backend == "local"
    assert (
        configuration.read({"main.tf": S3, "override.tf.json": '{"terraform":{"backend":{"pg":{}}}}'}).backend == "pg"
    )
    cloud = configuration.read({"main.tf": S3, "override.tf": "terraform {\n cloud {}\n}"})
    assert (cloud.backend, cloud.cloud) == (None, True)
    assert configuration.read({"main.tf": S3, "override.tf": "locals {}"}).backend == "s3"
    assert configuration.read({"myoverride.tf": S3, "z.tf": local}).backend == "s3"


def test_only_files_of_the_root_module_count():
    files = {"modules/x/main.tf": S3, ".hidden.tf": S3, "main.tf~": S3, "notes.txt": S3, "#main.tf": S3}
    assert configuration.read(files) == configuration.Configuration(backend=None, cloud=False)


def test_a_tofu_file_stands_in_for_its_tf_file():
    assert configuration.read({"main.tf": S3, "main.tofu": "locals {}"}).backend is None
    assert configuration.read({"main.tofu": S3}).backend == "s3"
    assert configuration.read({"main.tf.json": "{}", "main.tofu": S3}).backend == "s3"


@given(st.text(alphabet='{}()[]"\\$%<-/*#= \nEOTab1'))
def test_any_text_is_read(text):
    configuration.read({"main.tf": text, "override.tf.json": text})
    for statement in hcl.statements(text):
        assert statement.text in text


def test_deep_nesting_is_no_problem():
    configuration.read({"main.tf": 'a = "' + '${"' * 200_000, "b.tf": "a = " + "[" * 99_999 + "}" * 99_999})


def test_statements_of_a_cli_configuration():
    text = (
        'plugin_cache_dir = "$HOME/.cache" # why\n'
        "disable_checkpoint = true\n"
        'credentials "app.terraform.io" {\n  token = "x}y"\n}\n'
        '"host" "h" = {\n services = {}\n}\n'
        'provider_installation {\n  direct {\n    exclude = ["a/*", "b/c"]\n  }\n}\n'
    )
    assert hcl.attributes(text) == {
        "plugin_cache_dir": '"$HOME/.cache" # why',
        "disable_checkpoint": "true",
    }
    credentials, host, installation = hcl.blocks(text)
    assert (credentials.type, credentials.labels) == ("credentials", ("app.terraform.io",))
    assert credentials.text == 'credentials "app.terraform.io" {\n  token = "x}y"\n}'
    assert (host.type, host.labels) == ("host", ("h",))
    (direct,) = hcl.blocks(installation.body)
    assert hcl.strings(hcl.attributes(direct.body)["exclude"]) == ("a/*", "b/c")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('"a"', "a"),
        (' "a\\"b\\n" ', 'a"b\n'),
        ("var.x", None),
        ('"a" + "b"', None),
        ('"open', None),
        ('""', ""),
        ('"/x" # why', "/x"),
    ],
)
def test_string(expression, value):
    assert hcl.string(expression) == value
