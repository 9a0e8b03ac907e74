"""The benchmark's own logic: no server needed."""

import ast
import dataclasses
import io
import math
import pathlib
import re
import sys
import tempfile
import unittest
import xml.dom.minidom

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import allocations
import cases
import check
import decision_kinds
import growth
import instructions
import keys
import latency
import leases
import load
import lookups
import peers
import picture
import publish
import sampling
import visits
import windows
from cpu import Figures

from server import pack


def figures(**ratios):
    """Rounds by case: SET against itself strays by a tenth."""
    names = {"set_again": cases.AGAIN, "bucket": cases.OUR_BUCKET, "gcra": cases.LUA_GCRA}
    by_name = {case.name: case for case in cases.CASES}
    rounds = {"set_again": [0.9, 1.1, 1.1], "bucket": [1.1] * 3, "gcra": [6.0] * 3} | ratios
    return {
        names[at]: Figures(by_name.get(names[at], cases.Case(names[at], b"xxx", None)), [], seen)
        for at, seen in rounds.items()
    }


class Overview(unittest.TestCase):
    def test_the_head_of_main_names_every_module(self):
        folder = pathlib.Path(__file__).parent
        head = ast.get_docstring(ast.parse((folder / "__main__.py").read_text()))
        named = set(re.findall(r"[a-z_]+", head))
        self.assertEqual({path.stem for path in folder.glob("*.py")} - {"__main__"} - named, set())


class LookUps(unittest.TestCase):
    TEXT = """positions: line
events: Ir

ob=/lib/server
fn=call
0 30
cob=/lib/libfloodgate.so
cfn=acquire
calls=2 0
0 900
cfn=lookupKey
calls=4 0
0 100

ob=/lib/libfloodgate.so
fn=acquire
12 300
13 50
cob=/lib/server
cfn=RM_OpenKey
calls=2 0
13 80
"""

    def test_calls_and_instructions_are_told_apart(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(self.TEXT)
            file.flush()
            found = lookups.Found(lookups.Profile(pathlib.Path(file.name)), 2)
        self.assertEqual(found.callers("lookupKey|RM_.*"), {"call": 2, "acquire": 1})
        self.assertEqual(found.times("lookupKey"), 2)
        self.assertEqual((found.instructions(), found.inside()), (190, 175))


class Allocations(unittest.TestCase):
    TEXT = """Merged arenas stats:
large:        4096  1
bins:   size ind allocated nmalloc (#/sec) curregs curslabs
           8   0      5600     700     700       7        1
                     ---
          16   1    190400   11900   11900   65547       47
large:  size ind allocated
       16384  36     32768
arenas[0]:
bins:   size ind allocated nmalloc (#/sec) curregs curslabs
           8   0      5600     700     700       1        1
large:  size ind allocated
"""

    def test_the_first_table_is_of_all_arenas(self):
        self.assertEqual(allocations.blocks(self.TEXT), {8: 7, 16: 65547})

    def test_what_belongs_to_each_key_is_told_largest_first(self):
        self.assertEqual(allocations.words({16: 2.7331, 48: 1.0}), "1 × 48 + 2.7 × 16")


class OneHotKey(unittest.TestCase):
    def measured(self, micros):
        found = {cases.AGAIN: Figures(None, [1.0] * 3, [0.9, 1.0, 1.1])}
        for case, _ in cases.HOT[1:]:
            found[case.name] = Figures(case, [micros] * 3, [1.0] * 3)
        return found

    def setUp(self):
        self.many = {cases.OUR_BUCKET: Figures(None, [1.5] * 3, [1.0] * 3)}

    def test_costs_no_more_than_many(self):
        self.assertEqual(check.hot(self.measured(1.6), self.many), [])

    def test_costs_more_than_many_by_more_than_the_noise(self):
        missed = check.hot(self.measured(1.7), self.many)
        self.assertEqual(len(missed), 1)
        self.assertIn("1.13 × " + cases.OUR_BUCKET, missed[0])


class WindowsInUse(unittest.TestCase):
    def measured(self, inside=46_000):
        ratios = {cases.AGAIN: 1.0, cases.OUR_SLIDING: 1.2} | {entry.peer: 12.0 for entry in cases.CHEAPER_IN_USE}
        figures = {name: Figures(cases.Case(name, b"xxx", None), [], [ratio] * 3) for name, ratio in ratios.items()}
        return windows.InUse(figures, self.counts(inside), 75)

    def counts(self, peers):
        return {cases.OUR_SLIDING: 9000} | {entry.peer: peers for entry in cases.LESS_IN_USE}

    def test_enough_instructions_fewer(self):
        self.assertEqual(check.windows(self.measured(), self.counts(46_000)), [])

    def test_too_few_instructions_fewer(self):
        missed = check.windows(self.measured(), self.counts(44_000))
        self.assertEqual(len(missed), len(cases.LESS_IN_USE))
        self.assertIn("4.9 times the instructions", missed[0])

    def test_time_inside_is_only_told(self):
        self.assertEqual(check.windows(self.measured(inside=9_000), self.counts(46_000)), [])

    def test_no_valgrind(self):
        self.assertEqual(check.windows(self.measured(), {}), [])


class Costs(unittest.TestCase):
    def test_within_the_bound(self):
        self.assertEqual(check.costs(figures()), [])

    def test_above_the_bound_by_less_than_the_noise(self):
        self.assertEqual(check.costs(figures(bucket=[1.31] * 3, gcra=[6.0] * 3)), [])

    def test_above_the_bound_by_more_than_the_noise(self):
        missed = check.costs(figures(bucket=[1.33] * 3))
        self.assertEqual(len(missed), 1)
        self.assertIn(cases.OUR_BUCKET, missed[0])

    def test_one_bad_round_is_no_miss(self):
        self.assertEqual(check.costs(figures(bucket=[1.1, 9.0, 1.1])), [])

    def test_a_peer_that_is_too_cheap(self):
        # Bucket at 1.1 and a tenth of noise: 4.4 times, or 4 and a bit.
        self.assertEqual(check.costs(figures(gcra=[4.1] * 3)), [])
        self.assertIn("at least 4 less", check.costs(figures(gcra=[3.9] * 3))[0])

    def test_a_peer_that_was_not_measured(self):
        found = figures()
        del found[cases.LUA_GCRA]
        self.assertIn("was not measured", check.costs(found)[0])

    def test_decisions_that_were_not_so(self):
        found = figures()
        entry = found[cases.OUR_BUCKET]
        entry.decisions, entry.marked = 100, 90
        entry.ratios = [1.0] * 3
        self.assertIn("90.0%", check.costs(found)[0])


class Others(unittest.TestCase):
    def rows(self, ours, again=(0.98, 1.02)):
        return [
            latency.Waits(latency.PLAIN, False, name, [], seen)
            for name, seen in ((cases.BASE.name, [1.0]), (cases.AGAIN, again), (latency.OURS, ours))
        ]

    def test_p99_within_the_spread(self):
        self.assertEqual(check.latency(self.rows([1.14, 1.1])), [])
        self.assertEqual(len(check.latency(self.rows([1.2, 1.2]))), 1)
        self.assertEqual(check.latency(self.rows([1.2, 1.2], again=[1.0, 0.7, 1.0])), [])
        self.assertEqual(len(check.latency(self.rows([1.35, 1.35], again=[1.0, 0.7, 1.0]))), 1)

    def test_growth(self):
        def table(*steps):
            return [growth.Table("count", ["bucket"], [(str(at), [value]) for at, value in enumerate(steps)])]

        self.assertEqual(check.growth(table(100, 104, 99, 108, 101)), [])
        self.assertEqual(len(check.growth(table(100, 110, 120, 130, 140, 150))), 1)

    def test_commands_are_read_as_they_were_sent(self):
        commands = [[b"SET", b"a\r\n*1", b""], [b"GET", b"x"]]
        self.assertEqual(list(peers.commands_in(b"".join(pack(*command) for command in commands))), commands)

    def test_what_a_library_sent_is_said_for_another_key_and_time(self):
        spoken = peers.Spoken.of([b"EVALSHA", b"p/abc:1/q", b"%.6f" % peers.time.time(), b"100"], b"abc:1")
        name, key, clock, count = spoken(b"xyz:2")
        self.assertEqual((name, key, count), (b"EVALSHA", b"p/xyz:2/q", b"100"))
        self.assertGreaterEqual(float(clock), float(spoken.arguments[2]))

    def test_every_key_is_visited_once(self):
        case = cases.CASES[3]
        sent = b"".join(load.pipelines(case, 64, 1))
        self.assertEqual(
            {command[1] for command in peers.commands_in(sent)}, {load.key(case, number) for number in range(64)}
        )

    def test_p99_is_told_where_set_knows_itself_to_a_tenth(self):
        self.assertTrue(latency.is_sure(self.rows([2.0], again=[0.95, 1.05] * 3)))
        self.assertFalse(latency.is_sure(self.rows([2.0], again=[0.85, 1.15] * 3)))
        self.assertFalse(latency.is_sure(self.rows([2.0], again=[0.85, 1.0] * 3)))
        self.assertFalse(latency.is_sure(self.rows([2.0], again=[1.15, 1.0] * 3)))
        # One round far off is no matter where there are many, and five are too few.
        self.assertTrue(latency.is_sure(self.rows([2.0], again=[*[0.95, 1.05] * 6, 2.0])))
        self.assertFalse(latency.is_sure(self.rows([2.0], again=[1.0] * 5)))


class Rounds(unittest.TestCase):
    def numbers(self, most, seconds, a_round):
        clock = iter(at * a_round for at in range(1000))
        return list(sampling.within(most, seconds, "x", lambda: next(clock), io.StringIO()))

    def test_no_round_begins_that_would_end_late(self):
        # The clock is read at the start and before each round.
        self.assertEqual(self.numbers(9, 100, 1), [*range(9)])
        self.assertEqual(len(self.numbers(9, 6, 1)), 4)

    def test_the_fewest_are_had_whatever_the_time_is(self):
        self.assertEqual(self.numbers(9, 0, 50), [*range(sampling.FEWEST)])
        self.assertEqual(self.numbers(1, 0, 50), [0])

    def test_quartiles_tell_what_is_steady(self):
        self.assertAlmostEqual(sampling.interquartile([1.0, 2.0, 3.0, 4.0, 5.0]), 2 / 3)
        self.assertTrue(sampling.steady([1.0, 1.05, 1.1, 1.0, 9.0]))
        self.assertFalse(sampling.steady([1.0, 1.2, 1.0, 1.2]))
        self.assertFalse(sampling.steady([1.0, 1.0]))
        self.assertEqual(sampling.unsteady([1.0]), "1 rounds, at least 3")

    def test_between_which_values_a_median_lies(self):
        self.assertEqual(sampling.sure_median([1.0] * 5), (-math.inf, math.inf))
        self.assertEqual(sampling.sure_median([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]), (1.0, 6.0))
        # By the table of the sign test: ranks 6 and 15 of 20, 40 and 61 of 100.
        self.assertEqual(sampling.sure_median(range(1, 21)), (6, 15))
        self.assertEqual(sampling.sure_median(range(1, 101)), (40, 61))


def seen(**ratios):
    """Rounds by kind: (new, there). SET against itself strays by nothing."""
    by_name = {kind.name: kind for kind in [*decision_kinds.OURS, decision_kinds.THE_LEAST]}
    found = {cases.AGAIN: ([1.0] * 3, [1.0] * 3), decision_kinds.LEAST: ([1.0] * 3, [0.8] * 3)}
    found |= {getattr(decision_kinds, name): both for name, both in ratios.items()}
    entries = {}
    for name, (new, there) in found.items():
        kind = by_name[name]
        entries[name] = visits.Seen(kind, Figures(kind.first, [], new), Figures(kind.second, [], there))
    return entries


class Visits(unittest.TestCase):
    def test_bounds_of_the_first_server(self):
        self.assertEqual(check.visits(seen(OF_BUCKET=([1.1] * 3, [0.95] * 3)), "Redis 7.0.15"), [])
        missed = check.visits(seen(OF_BUCKET=([1.12] * 3, [0.97] * 3)), "Redis 7.0.15")
        self.assertEqual(["new key" in line for line in missed], [True, False])

    def test_others_are_held_beside_the_least_module(self):
        # 1.0 and 0.20, 0.8 and 0.15.
        self.assertEqual(check.visits(seen(OF_BUCKET=([1.19] * 3, [0.94] * 3)), "Valkey 9.1.2"), [])
        missed = check.visits(seen(OF_BUCKET=([1.21] * 3, [0.96] * 3)), "Valkey 9.1.2")
        self.assertIn("1.21 × SET PX, at most 1.20", missed[0])
        self.assertIn("0.96 × SET PX, at most 0.95", missed[1])

    def test_a_batch_has_bounds_of_its_own_elsewhere(self):
        self.assertEqual(check.visits(seen(BATCH=([0.9] * 3, [0.7] * 3)), "Redis 8.6.3"), [])
        self.assertEqual(len(check.visits(seen(BATCH=([0.9] * 3, [0.7] * 3)), "Redis 7.0.15")), 1)

    def test_without_the_least_module_it_says_what_was_not_checked(self):
        found = seen()
        del found[decision_kinds.LEAST]
        self.assertIn("was not measured", check.visits(found, "Redis 8.6.3")[0])

    def test_one_key_is_asked_by_two_in_turn(self):
        kind = next(kind for kind in decision_kinds.OURS if kind.name == decision_kinds.CHANGED)
        sent = list(peers.commands_in(b"".join(visits.in_turn(kind, 64))))
        self.assertEqual(len(sent), 64)
        self.assertEqual(len({command[1] for command in sent}), 1)
        self.assertEqual(
            [command[2] for command in sent[:4]], [decision_kinds.FEW.encode(), decision_kinds.MANY.encode()] * 2
        )

    def test_all_that_has_a_bound_for_new_keys_is_counted_too(self):
        counted = {case.name for case in instructions.CHECKED}
        for kind in decision_kinds.OURS:
            if kind.new.most:
                self.assertIn(f"{kind.name}, new key", counted)
        self.assertIn(decision_kinds.TURNED, counted)


class Keys(unittest.TestCase):
    def size(self, count, bucket):
        case = keys.KINDS[1]
        return {case.name: keys.Size(count, Figures(case, [], bucket), Figures(case, [], [1.0] * 3), [145.2])}

    def test_sizes_that_have_no_room(self):
        self.assertEqual(keys.fitting([10, 100, 1000], 4, 4 * 100 * keys.BYTES_A_KEY / keys.PART), [10, 100])

    def test_free_memory_is_read(self):
        self.assertEqual(keys.free_memory("MemTotal:  9 kB\nMemAvailable:    7 kB\n"), 7168)

    def test_batches_lead_up_to_the_size(self):
        for size in keys.SIZES:
            self.assertLessEqual(keys.BATCHES * keys.batch_of(size), size)
            self.assertEqual(keys.batch_of(size) % load.DEPTH, 0)

    def test_growth_with_the_number_of_keys(self):
        self.assertEqual(check.keys([self.size(10, [1.4] * 3), self.size(100, [1.5] * 3)]), [])
        self.assertEqual(len(check.keys([self.size(10, [1.4] * 3), self.size(100, [1.6] * 3)])), 1)


class Leases(unittest.TestCase):
    def test_the_most_of_any_period(self):
        self.assertEqual(leases.most_in([], 10), 0)
        # A period is half open: what is ten apart lies in two of them.
        self.assertEqual(leases.most_in([20, 0, 10], 10), 1)
        self.assertEqual(leases.most_in([0, 9, 10, 18, 19, 30], 10), 3)

    def test_beyond_the_count(self):
        row = leases.Row(2, True, [1.0], leases.COUNT * 11 // 10)
        self.assertAlmostEqual(row.beyond(), 0.1)


class Page(unittest.TestCase):
    def setUp(self):
        self.left = publish.Left()

    def test_a_place_is_filled_anew_and_the_rest_stays(self):
        text = "a\n<!-- make bench: x -->\nold\n<!-- end of x -->\nb\n"
        once = publish.placed(text, "x", "new\n")
        self.assertEqual(once, "a\n<!-- make bench: x -->\n\nnew\n\n<!-- end of x -->\nb\n")
        self.assertEqual(publish.placed(once, "x", "new"), once)

    def test_a_page_without_the_place(self):
        for text in ("", "<!-- make bench: x -->\n", "<!-- end of x -->"):
            with self.assertRaises(publish.Lost):
                publish.placed(text, "x", "new")

    def test_pages_have_all_places(self):
        for part in (
            publish.IN_SHORT,
            "visits",
            "cost",
            "memory",
            "replication",
            "keys",
            "latency",
            "threads",
            "leases",
        ):
            publish.placed(publish.BENCHMARKS.read_text(), part, "")
        publish.placed(publish.README.read_text(), publish.IN_SHORT, "")

    def test_what_strays_is_left_out_and_told(self):
        self.assertEqual(self.left.cell([1.0, 1.01, 1.02], "fine"), "1.01")
        self.assertEqual(self.left.cell([1.0, 1.5, 2.0], "wild"), "")
        self.assertEqual(self.left.cell([], "nothing"), "")
        self.assertEqual(len(self.left.out), 1)
        self.assertIn("wild: half of its rounds lie 33% apart", self.left.out[0])

    def test_a_row_without_figures_is_left_out(self):
        text = publish.visits({"Redis 7.0.15": seen(OF_BUCKET=([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]))}, self.left, "c")
        self.assertNotIn(decision_kinds.OF_BUCKET, text)
        self.assertIn(decision_kinds.LEAST, text)
        self.assertEqual(len(self.left.out), 2)

    def test_in_short_are_all_rows_or_nothing(self):
        both = [1.2] * 3, [1.1] * 3
        steady = seen(OF_BUCKET=both, OF_SLIDING=both, OF_THREE=both, OUR_BREAKER=both)
        steady[cases.LUA_GCRA] = dataclasses.replace(steady[decision_kinds.OF_BUCKET])
        text = publish.in_short({"A": steady}, self.left)
        self.assertEqual(text.count("| 1.10 / 1.20"), len(publish.ROWS))
        self.assertEqual(self.left.out, [])
        stray = steady | seen(OF_SLIDING=([1.0, 2.0, 3.0], [1.0] * 3))
        self.assertIsNone(publish.in_short({"A": steady, "B": stray}, self.left))
        self.assertIn("only 4 of its 5 rows", self.left.out[0])
        del stray[decision_kinds.OF_SLIDING]
        self.assertIsNone(publish.in_short({"A": stray}, self.left))

    def test_cost_has_a_cell_for_each_way(self):
        def of(name, ratios):
            return Figures(cases.Case(name, b"xxx", None), [1.0] * 3, ratios)

        class Measured:
            server, libraries = "Redis 7.0.15", ["limits 5.8.0"]
            costs = {cases.AGAIN: of(cases.AGAIN, [1.0] * 3), cases.OUR_BUCKET: of(cases.OUR_BUCKET, [1.11] * 3)}
            hot = {case.name: of(case.name, [1.22] * 3) for case, _ in cases.HOT}, {}
            in_use = instructions = None

        text = publish.costs(Measured, self.left, "c")
        self.assertRegex(text, r"granted +\| 1.11 +\| +\| +\| +\| 1.22 +\|")

    def test_no_word_of_p99_where_it_is_not_known(self):
        def waits(again):
            one = latency.Round(100.0, 1.0, 2.0, 3.0)
            return [
                latency.Waits(latency.PLAIN, False, name, [one] * 6, ratios)
                for name, ratios in ((cases.BASE.name, [1.0] * 6), (cases.AGAIN, again))
            ]

        self.assertIn("p99", publish.latency(waits([1.0] * 6), self.left, "c", "s"))
        self.assertEqual(self.left.out, [])
        self.assertNotIn("p99", publish.latency(waits([0.5, 1.5] * 3), self.left, "c", "s"))
        self.assertIn("p99", self.left.out[0])


class Picture(unittest.TestCase):
    def test_a_round_end_of_an_axis(self):
        for most in (0.3, 1.0, 1.62, 7.0, 145.0, 999.0):
            end, step = picture.nice(most)
            self.assertGreater(end, most)
            self.assertLessEqual(end, most * 1.5)
            self.assertLessEqual(end / step, 8)

    def test_it_is_well_formed_and_leaves_out_what_was(self):
        lines = [picture.Line("a < b", [1.0, None, 1.5]), picture.Line("a < b", [2.0, 2.0, 2.0], dashed=True)]
        text = picture.svg([picture.Panel("ratio & bytes", lines)], [10_000, 100_000, 1_000_000], "note")
        drawn = xml.dom.minidom.parseString(text)
        self.assertEqual(len(drawn.getElementsByTagName("circle")), 5)
        self.assertIn("1,000,000", text)
        self.assertEqual(text.count("stroke-dasharray"), 1)
        # Both visits of a kind are of one colour.
        self.assertEqual(len({mark.getAttribute("fill") for mark in drawn.getElementsByTagName("circle")}), 1)


if __name__ == "__main__":
    unittest.main()
