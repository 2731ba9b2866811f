"""Rows of text: which are folded into one, and how tables are aligned."""

from __future__ import annotations

from phew.support.tables import Row, folded, numbers_table, shortened, table


def test_a_folded_name_stands_for_exactly_its_rows() -> None:
    names = ["a1.b0", "a1.b1", "a2.b0", "a2.b1", "a3.b0", "a3.b2", "c"]
    assert [(row.names[0], row.count) for row in folded(Row((name,)) for name in names)] == [
        ("a1.b{0-1}", 2),
        ("a2.b{0-1}", 2),
        ("a3.b{0,2}", 2),
        ("c", 1),
    ]
    assert folded(Row((f"a{i}.b{j}",)) for i in range(3) for j in range(2)) == [
        Row(("a{0-2}.b{0-1}",), members=(0, 1, 2, 3, 4, 5))
    ]


def test_rows_fold_where_other_names_keep_step_and_facts_are_equal() -> None:
    rows = [Row((f"l{i}", f"l{i - 1}", "x7"), ("8" if i < 4 else "9",)) for i in range(1, 6)]
    assert folded(rows) == [
        Row(("l{1-3}", "l{0-2}", "x7"), ("8",), members=(0, 1, 2)),
        Row(("l{4-5}", "l{3-4}", "x7"), ("9",), members=(3, 4)),
    ]
    assert [row.times for row in folded([*rows[:2], Row(("m",))])] == ["x2", ""]


def test_numbers_are_written_as_they_are() -> None:
    names = ["a07", "b08.c", "b09.c", "b10.c"]
    assert [row.names[0] for row in folded(Row((name,)) for name in names)] == ["a07", "b{08-10}.c"]


def test_numbers_of_equal_steps_are_a_run() -> None:
    (row,) = folded(Row((f"a.{index}",)) for index in [0, 1, 2, 4, 7, 9, 11, 13, 20])
    assert row == Row(("a.{0-2,4,7,9,11,13,20}",), members=tuple(range(9)))
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


def test_numbers_fit_a_width() -> None:
    header = ("parameter", "kept", "all weights", "active units")
    rows = [("stages.0.0.branch.0.weight", "12", "1,157", "16 / 16"), ("fc", "3", "4", "2 / 2")]
    total = ("total", "15", "1,161", "18 / 18")
    whole = numbers_table(header, rows, total)
    assert whole == numbers_table(header, rows, total, width=len(whole[0]))
    assert numbers_table(header, rows, total, width=46) == [
        "                                  all   active",
        "parameter               kept  weights    units",
        "----------------------------------------------",
        "stages.0....h.0.weight    12    1,157  16 / 16",
        "fc                         3        4    2 / 2",
        "----------------------------------------------",
        "total                     15    1,161  18 / 18",
    ]
    assert numbers_table(header, rows, total, width=30) == [
        "parameter                 kept",
        "------------------------------",
        "stages.0.0...ch.0.weight    12",
        "fc                           3",
        "------------------------------",
        "total                       15",
        "left out for lack of room: all",
        "  weights, active units",
    ]


def test_names_are_shortened_where_the_last_column_has_no_room() -> None:
    rows = [("a" * 60, "b" * 60, "to be read")]
    (line,) = table(rows, width=80)
    assert len(line) <= 80
    assert line.endswith("to be read")
    assert table([]) == []


def test_words_are_shortened_in_the_middle() -> None:
    assert shortened("stages.0.conv1.weight", 21) == "stages.0.conv1.weight"
    assert shortened("stages.0.conv1.weight", 15) == "stages...weight"
