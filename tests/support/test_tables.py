"""Rows of text: which are folded into one, and how tables are aligned."""

from __future__ import annotations

from phew.support.tables import Row, folded, table


def test_a_folded_name_stands_for_exactly_its_rows() -> None:
    names = ["a1.b0", "a1.b1", "a2.b0", "a2.b1", "a3.b0", "a3.b2", "c"]
    assert [(row.names[0], row.count) for row in folded(Row((name,)) for name in names)] == [
        ("a1.b{0-1}", 2),
        ("a2.b{0-1}", 2),
        ("a3.b{0,2}", 2),
        ("c", 1),
    ]
    assert folded(Row((f"a{i}.b{j}",)) for i in range(3) for j in range(2)) == [
        Row(("a{0-2}.b{0-1}",), count=6)
    ]


def test_rows_fold_where_other_names_keep_step_and_facts_are_equal() -> None:
    rows = [Row((f"l{i}", f"l{i - 1}", "x7"), ("8" if i < 4 else "9",)) for i in range(1, 6)]
    assert folded(rows) == [
        Row(("l{1-3}", "l{0-2}", "x7"), ("8",), count=3),
        Row(("l{4-5}", "l{3-4}", "x7"), ("9",), count=2),
    ]
    assert [row.times for row in folded([*rows[:2], Row(("m",))])] == ["x2", ""]


def test_numbers_are_written_as_they_are() -> None:
    names = ["a07", "b08.c", "b09.c", "b10.c"]
    assert [row.names[0] for row in folded(Row((name,)) for name in names)] == ["a07", "b{08-10}.c"]


def test_numbers_of_equal_steps_are_a_run() -> None:
    (row,) = folded(Row((f"a.{index}",)) for index in [0, 1, 2, 4, 7, 9, 11, 13, 20])
    assert row == Row(("a.{0-2,4,7,9,11,13,20}",), count=9)
    (row,) = folded(Row((f"a.{index}",)) for index in range(1, 500, 2))
    assert row.names == ("a.{1,3,..,499}",)


def test_folded_rows_are_in_the_order_of_their_first() -> None:
    names = ["a.0.x", "b", "a.1.x", "a.1.y"]
    assert [row.names[0] for row in folded(Row((name,)) for name in names)] == [
        "a.{0-1}.x",
        "b",
        "a.1.y",
    ]


def test_tables_are_aligned_and_wrapped() -> None:
    long = " ".join(["word"] * 30)
    lines = table([("a", "", "1"), ("bbb", "", long)])
    assert lines[0] == "  a    1"
    assert lines[1].startswith("  bbb  word")
    assert lines[2].startswith("       word")
    assert max(map(len, lines)) <= 120
    assert " ".join(" ".join(lines[1:]).split()) == f"bbb {long}"
