"""`flask llm reconcile`: the ledger beside what a provider says it was asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result

import wsgi

from . import usage_rows
from .test_usage_cli import run
from .usage_rows import day
from .usage_rows import row

ONE, TWO = day(1), day(2)
OPENROUTER = (  # the columns of an activity export
    "generation_id,created_at,cost_total,cost_web_search,cost_cache,cost_file_processing,byok_usage_inference,"
    "tokens_prompt,tokens_completion,tokens_reasoning,tokens_cached,model_permaslug,provider_name,variant,cancelled,"
    "streamed,user,finish_reason_raw,finish_reason_normalized,generation_time_ms,time_to_first_token_ms,"
    "api_key_disabled,api_key_name,app_name\n"
)
OPENAI = (  # of a usage export
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,"
    "service_tier,input_tokens,output_tokens,input_cached_tokens,input_uncached_tokens\n"
)
OPENAI_COSTS = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,"
    "user_id,api_key_id,project_id,organization_id,project_name,organization_name,user_email,api_source\n"
)


def generation(number: int, on: str = ONE, cost: str = "0.001", tokens_in: int = 100, tokens_out: int = 20) -> str:
    return (
        f"gen-{number},{on} 03:46:57.713,{cost},0,-0.0001,0,0,{tokens_in},{tokens_out},5,10,openai/gpt-4o-mini,OpenAI,"
        "standard,false,true,,stop,stop,1500,500,false,key,app\n"
    )


def bucket(on: str, requests: int, tokens_in: int, tokens_out: int, at: str = "00:10:00") -> str:
    return f"0,0,{on}T{at}+00:00,,proj,{requests}.0,,key,gpt-4o-mini,,default,{tokens_in},{tokens_out},10,90\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three streams yesterday, one the day before, and what no provider knows of."""
    made = f"sqlite:///{tmp_path_factory.mktemp('usage')}/usage.db"
    rows = [row(days_ago=1, request_id=f"gen-{number}") for number in (1, 2, 3)]
    rows.append(row(days_ago=2, request_id="gen-4"))
    rows.append(row(days_ago=1, request_id=None, status="failed", source="none", cost=None, currency=None))
    rows.append(
        row(days_ago=1, request_id=None, status="running", worker="alive", source=None, cost=None, currency=None)
    )
    usage_rows.write(made, *rows)
    usage_rows.keep_alive(made, "alive")
    return made


def reconcile(url: str, folder: Path, text: str, *options: str) -> Result:
    file = folder / "export.csv"
    file.write_text(text, encoding="utf-8")
    app = wsgi.create_app({"LLM_STREAM_LEDGER_URL": url})
    return app.test_cli_runner().invoke(args=["llm", "reconcile", str(file), *options])


def test_exit_status_is_for_scripts(url: str, tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_text("request_id,cost\ngen-1,0.002\n")
    done = run(url, "reconcile", str(file))
    assert done.returncode == 1, done.stderr
    assert "gen-1  cost: 0.001 USD here, 0.002 USD there" in done.stdout


def test_openrouters_export_that_says_the_same_is_no_difference(url: str, tmp_path: Path) -> None:
    text = OPENROUTER + "".join(generation(number) for number in (1, 2, 3)) + generation(4, TWO, "0.0010000004")
    done = reconcile(url, tmp_path, "\ufeff" + text)
    assert done.exit_code == 0, done.stdout + done.stderr
    assert done.stdout.endswith(
        "4 requests found on both sides; 0 differ, 0 missing here, 0 missing there, 0 days differ.\n"
    )


def test_each_request_that_differs_or_is_missing_is_printed(url: str, tmp_path: Path) -> None:
    text = OPENROUTER + generation(1, tokens_out=25) + generation(2, cost="0.002") + generation(9)
    done = reconcile(url, tmp_path, text)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[1:5] == [
        f"{ONE}  differs  gen-1  output tokens: 20 here, 25 there",
        f"{ONE}  differs  gen-2  cost: 0.001 USD here, 0.002 USD there",
        f"{ONE}  missing here  gen-9  openai/gpt-4o-mini",
        next(line for line in done.stdout.splitlines() if line.startswith(f"{ONE}  missing there  gen-3")),
    ]
    assert "60 here, 65 there" in done.stdout and "$0.003 here, $0.004 there" in done.stdout
    assert TWO not in done.stdout, "a day that the export does not speak of"


def test_a_request_around_midnight_is_of_one_day(url: str, tmp_path: Path) -> None:
    text = OPENROUTER + "".join(generation(number) for number in (1, 2, 3)) + generation(4, on=ONE)
    assert reconcile(url, tmp_path, text).exit_code == 0


def test_openais_usage_export_is_compared_by_day(url: str, tmp_path: Path) -> None:
    empty = f"0,0,{TWO}T23:00:00+00:00,,,,,,,,,,,,\n"
    text = OPENAI + empty + bucket(TWO, 1, 100, 20) + bucket(ONE, 2, 200, 40) + bucket(ONE, 1, 100, 20, "00:20:00")
    done = reconcile(url, tmp_path, text)
    assert done.exit_code == 0, done.stdout + done.stderr
    done = reconcile(url, tmp_path, text + bucket(ONE, 1, 7, 8, "00:30:00"))
    assert done.exit_code == 1
    assert "3 here, 4 there  300 here, 307 there  60 here, 68 there" in done.stdout
    assert done.stdout.endswith("1 days differ.\n")


def test_openais_costs_are_compared_by_day(url: str, tmp_path: Path) -> None:
    line = "0,0,{day}T00:00:00,,{amount},usd,,,,,,,org,,Org,someone@example.com,\n"
    text = OPENAI_COSTS + line.format(day=ONE, amount="0.003000000000000000000000")
    assert reconcile(url, tmp_path, text).exit_code == 0
    done = reconcile(url, tmp_path, text + line.format(day=ONE, amount="0.5").replace("usd", "eur"))
    assert done.exit_code == 1 and "$0.003 here, €0.5 + $0.003 there" in done.stdout


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Request ID,Cost\ngen-1,0.001\n", 0),
        ("request_id,input_tokens,output_tokens\ngen-1,100,21\n", 1),
        (f"date,cost,currency\n{ONE},0.003,USD\n", 0),
        (f"date,cost,currency\n{ONE},0.003,EUR\n", 1),
        (f"date,requests,input_tokens\n{ONE},3,300\n", 0),
    ],
)
def test_any_file_with_an_id_or_a_day_will_do(url: str, tmp_path: Path, text: str, status: int) -> None:
    done = reconcile(url, tmp_path, text)
    assert done.exit_code == status, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The file is empty."),
        ("name,colour\na,b\n", "Its columns are: name, colour."),
        ("request_id,cost\ngen-1,much\n", "Line 2 cannot be read"),
        ("request_id,cost\n", "The file has no rows to compare."),
    ],
)
def test_a_file_that_says_nothing_is_refused(url: str, tmp_path: Path, text: str, message: str) -> None:
    done = reconcile(url, tmp_path, text)
    assert done.exit_code == 2 and message in done.stderr and "Traceback" not in done.output


def test_an_amount_in_another_currency_is_a_difference(url: str, tmp_path: Path) -> None:
    assert reconcile(url, tmp_path, "id,cost\ngen-1,0.001\n", "--currency", "INR").exit_code == 1
