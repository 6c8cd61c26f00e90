from fgexpo.robustness.watchdog.culprit import Report, View, Watcher, find_culprit

TIMEOUT, SILENCE = 45.0, 30.0


def view(position=5, stalled=0.0, silent=0.0, gone=False, **report):
    fields = {"phase": "update", "patience": 1.0, **report}
    made = Report("here", 1, tick=1, position=position, beats=1, **fields)
    return View(made, silent, stalled, gone)


def culprit(**ranks):
    views = {int(name[1:]): x for name, x in ranks.items()}
    return find_culprit(views, TIMEOUT, SILENCE)


def test_nobody_is_blamed_while_all_get_on():
    assert culprit(r0=view(), r1=view(stalled=40)) is None


def test_of_those_that_stand_still_the_one_that_has_come_least_far_is_to_blame():
    rank, what = culprit(r0=view(7, stalled=60), r1=view(6, stalled=50, phase="verify"))
    assert rank == 1 and "no progress for 50 s" in what and "'verify'" in what


def test_a_tie_is_said():
    rank, what = culprit(r0=view(stalled=60), r1=view(stalled=60), r2=view(6, stalled=60))
    assert rank == 0 and what.endswith("are at the same point: ranks 0, 1")


def test_waiting_for_one_that_is_slow_but_at_work_is_no_fault():
    assert culprit(r0=view(7, stalled=60), r1=view(6, stalled=1)) is None


def test_nobody_is_blamed_while_one_that_has_come_no_further_is_at_work():
    assert culprit(r0=view(stalled=60), r1=view(stalled=1), r2=view(6, stalled=60)) is None
    assert culprit(r0=view(stalled=1), r1=view(stalled=60)) is None


def test_a_phase_may_ask_for_patience():
    assert culprit(r0=view(stalled=60, patience=10.0)) is None
    assert culprit(r0=view(stalled=460, patience=10.0)) is not None
    # The first process saves, the second one is further and waits for it.
    assert culprit(r0=view(6, stalled=60, patience=10.0), r1=view(7, stalled=60)) is None


def test_an_error_comes_before_what_it_leads_to():
    lost = view(error="RuntimeError: Connection closed by peer", secondary=True)
    rank, what = culprit(r0=lost, r1=view(gone=True), r2=view(error="ValueError: bad", stalled=99))
    assert rank == 2 and "ValueError: bad" in what


def test_the_dead_and_the_silent():
    lost = view(error="RuntimeError: Connection closed by peer", secondary=True)
    assert culprit(r0=lost, r1=view(gone=True))[0] == 1
    assert "has died" in culprit(r0=lost, r1=view(gone=True))[1]
    assert "no sign of life for 31 s" in culprit(r0=view(), r1=view(silent=31))[1]
    assert culprit(r0=view(), r1=view(silent=29)) is None


def test_who_has_left_in_order_is_not_missed():
    assert culprit(r0=view(), r1=view(done=True, silent=99, stalled=99, gone=True)) is None


def test_views_measure_by_ones_own_clock():
    watcher = Watcher("here")
    report = {"phase": "update", "position": 1}
    watcher.see(0, Report("here", 7, tick=1, beats=1, **report), now=10.0)
    watcher.see(0, Report("here", 7, tick=2, beats=1, **report), now=20.0)
    found = watcher.views(25.0, lambda pid: True)[0]
    assert (found.silent, found.stalled, found.gone) == (5.0, 15.0, False)
    watcher.see(0, Report("here", 7, tick=3, beats=2, **report), now=30.0)
    found = watcher.views(31.0, lambda pid: False)[0]
    assert (found.silent, found.stalled, found.gone) == (1.0, 1.0, True)


def test_time_in_which_nobody_could_look_does_not_count():
    watcher = Watcher("here")
    watcher.see(0, Report("here", 7, 1, "update", 1, 1), now=0.0)
    watcher.forgive(100.0)
    found = watcher.views(101.0, lambda pid: True)[0]
    assert (found.silent, found.stalled) == (1.0, 1.0)


def test_a_process_that_was_never_met_cannot_be_gone():
    watcher = Watcher("here")
    for rank, host in enumerate(("here", "elsewhere")):
        watcher.see(rank, Report(host, 7, 1, "update", 1, 1), now=0.0)
    assert not any(found.gone for found in watcher.views(1.0, lambda pid: False).values())
    assert watcher.where(1) == "elsewhere, process 7"
    assert watcher.where(5) == "never reported"
