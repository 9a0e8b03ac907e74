"""The benchmark's own logic: no server needed."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import cases
import check
import growth
import latency
import load
import peers
import windows
from cpu import Figures

from server import pack


def figures(**ratios):
    """Rounds by case: SET against itself strays by a tenth."""
    names = {"set_again": cases.AGAIN, "bucket": cases.OUR_BUCKET, "gcra": cases.LUA_GCRA}
    by_name = {case.name: case for case in cases.CASES}
    rounds = {"set_again": [0.9, 1.1, 1.1], "bucket": [1.1] * 3, "gcra": [6.0] * 3} | ratios
    return {names[at]: Figures(by_name.get(names[at], cases.Case(names[at], b"xxx", None)), [], seen)
            for at, seen in rounds.items()}


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
        return [latency.Waits(latency.PLAIN, False, name, [], seen)
                for name, seen in ((cases.BASE.name, [1.0]), (cases.AGAIN, again), (latency.OURS, ours))]

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
        self.assertEqual({command[1] for command in peers.commands_in(sent)},
                         {load.key(case, number) for number in range(64)})


if __name__ == "__main__":
    unittest.main()
