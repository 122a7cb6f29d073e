"""Whole rounds: dropouts at any stage, a coordinator that looks at everything, one that lies."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, derive_private_key

from shared.pki.authority import Authority
from shared.pki.certificates import key_fingerprint
from shared.privacy.secagg import keys
from shared.privacy.secagg.claims import Claims
from shared.privacy.secagg.client import SecAggClient
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.graph import Plan, Ring
from shared.privacy.secagg.identity import Trust
from shared.privacy.secagg.masks import add_masks
from shared.privacy.secagg.records import Agreement, Envelopes, KeyMessage, Outcome, Reveal, Roster
from shared.privacy.secagg.shamir import SHARE_BYTES, join, weights

CLAIMS = Claims(1, 1)
STAGES = ("keys", "shares", "masked", "agree", "reveal")


def close(mean, expected) -> bool:
    return bool(np.allclose(mean.vector, expected, rtol=1e-6, atol=1e-7))


@pytest.mark.parametrize("count", [3, 4, 18])
def test_the_sum_is_that_of_all(hospitals, count):
    round_ = hospitals.round(count)
    mean = round_.run()
    assert close(mean, round_.expected(round_.clients))
    assert mean.weight == sum(round_.weights.values())
    weights = [round_.weights[site] for site in round_.losses]
    assert mean.loss == pytest.approx(np.average(list(round_.losses.values()), weights=weights))


def secrets_known(round_, colluders: Collection[str]) -> dict[tuple[str, str], bytes]:
    """Return, by kind and site, each secret of which the coordinator has a threshold of shares."""
    roster = round_.server._roster
    shares: dict[tuple[str, str], dict[int, int]] = {}  # the share at each point
    for (stage, helper), sent in round_.saw.items():
        if stage == "reveal":
            reveal = Reveal.from_bytes(sent)
            pairs = [("seed", *pair) for pair in reveal.seeds] + [("key", *pair) for pair in reveal.keys]
            for kind, site, share in pairs:
                shares.setdefault((kind, site), {})[roster.point(helper)] = share
    for colluder in colluders:
        for site, pair in round_.held[colluder].items():
            for kind, part in (("key", pair[:SHARE_BYTES]), ("seed", pair[SHARE_BYTES:])):
                shares.setdefault((kind, site), {})[roster.point(colluder)] = int.from_bytes(part, "big")
    known = {("key", colluder): round_.clients[colluder]._own.mask for colluder in colluders}
    threshold = Plan(len(roster.keys)).threshold
    for name, points in shares.items():
        if len(points) >= threshold:
            used = sorted(points)[:threshold]
            known[name] = join([points[point] for point in used], weights(used)).to_bytes(32, "big")
    return known


def look_at(round_, colluders: Collection[str] = ()) -> dict[str, bool]:
    """Play a coordinator that keeps all it sees, and say of each honest masked update whether it got at it.

    It reconstructs every secret that it can, from what was revealed and from what its colluders hold, and
    takes off every mask that follows.
    """
    roster = round_.server._roster
    known = secrets_known(round_, colluders)
    ring = Ring(roster.sites, roster.digest)
    found = {}
    for (stage, site), masked in round_.saw.items():
        if stage != "masked" or site in colluders:
            continue
        guess, plus, minus = masked.copy(), [], []
        if ("seed", site) in known:
            minus.append(keys.self_mask_key(known["seed", site], round_.server.header))
        for other in ring.neighbours(site):
            mine, theirs = (site, other) if ("key", site) in known else (other, site)
            if ("key", mine) in known:
                mask = keys.pair_mask_key(known["key", mine], mine, theirs, roster)
                (minus if site < other else plus).append(mask)
        add_masks(guess, plus, minus)
        codec = round_.clients[site].codec
        encoded = codec.encode(round_.vectors[site], round_.weights[site], round_.losses[site])
        far = np.abs((guess - encoded).view(np.int64).astype(float)) > 2**50
        found[site] = bool(far.mean() < 0.9)
    return found


@pytest.mark.slow
def test_a_hundred_schedules_of_dropouts_give_the_sum_of_those_who_stayed(hospitals):
    generator = np.random.default_rng(0)
    for schedule in range(100):
        round_ = hospitals.round(10, seed=schedule)
        gone = generator.choice(list(round_.clients), 3, replace=False).tolist()
        stages = generator.choice(STAGES, 3).tolist()
        dropouts = {
            stage: [site for site, when in zip(gone, stages, strict=True) if when == stage]
            for stage in STAGES
        }
        early = {site for site, when in zip(gone, stages, strict=True) if when in STAGES[:3]}
        joined = 10 - len(dropouts["keys"])
        if 3 - len(dropouts["keys"]) <= Plan(joined).dropouts:
            assert close(round_.run(dropouts), round_.expected(set(round_.clients) - early))
        else:
            with pytest.raises(SecureAggregationError, match="must"):
                round_.run(dropouts)
        assert not round_.refusals
        assert not any(look_at(round_).values())


def test_an_update_that_comes_late_stays_hidden(hospitals):
    round_ = hospitals.round(10)
    round_.run({"masked": ["site-09"]})
    inbox, client = round_.server.inboxes()["site-09"], round_.clients["site-09"]
    client.open(inbox)  # the coordinator has said that it dropped out, and has its mask key by now
    encoded = client.codec.encode(round_.vectors["site-09"], 1, 0.5)
    round_.saw["masked", "site-09"] = client.mask(encoded)
    assert not any(look_at(round_).values())


def test_colluding_sites_get_at_nothing_until_they_are_too_many(hospitals):
    round_ = hospitals.round(10)
    round_.run({"agree": ["site-08"]})
    sites = list(round_.clients)
    assert not any(look_at(round_, sites[: Plan(10).colluders]).values())
    # A threshold of sites that give all away: the attack of this test works where it must.
    assert all(look_at(round_, sites[: Plan(10).threshold]).values())


def test_thirty_of_a_hundred_may_drop_out_of_a_sparse_round(hospitals):
    round_ = hospitals.round(50)
    gone = np.random.default_rng(1).choice(list(round_.clients), 15, replace=False).tolist()
    mean = round_.run({"masked": gone[:12], "agree": gone[12:]})
    assert close(mean, round_.expected(set(round_.clients) - set(gone[:12])))


def test_too_many_dropouts_end_the_round_with_the_reason(hospitals):
    for stage in STAGES[1:]:
        round_ = hospitals.round(10)
        with pytest.raises(SecureAggregationError, match=r"6 sites .*, 7 must"):
            round_.run({stage: list(round_.clients)[:4]})


def test_the_least_number_of_sites_in_a_sum_is_the_sites_own(hospitals):
    round_ = hospitals.round(5, least=5)
    round_.server = type(round_.server)(round_.server.header, 50)  # the coordinator would go on with fewer
    with pytest.raises(SecureAggregationError):
        round_.run({"masked": ["site-00"]})
    assert set(round_.refusals.values()) == {"4 sites are left in the sum; this site asks for 5"}


# A coordinator that lies.


def refusals(round_) -> set[str]:
    with pytest.raises(SecureAggregationError):
        round_.run()
    return set(round_.refusals.values())


def test_no_site_gives_both_shares_of_one_site(hospitals):
    round_ = hospitals.round(10)
    round_.run()
    client = round_.clients["site-00"]
    for again in (
        lambda: client.reveal(round_.server.agreement()),
        lambda: client.agree(round_.server.outcome()),
    ):
        with pytest.raises(SecureAggregationError, match="is at 'over'"):
            again()


def test_different_lists_of_survivors_are_noticed(hospitals):
    round_ = hospitals.round(10)
    everyone = tuple(round_.clients)

    def two_lists(stage, site, sent):
        # Half of the sites are told that site-00 stayed, half that it dropped out: both its secrets would
        # follow.
        if stage == "agree" and site > "site-04":
            return Outcome(everyone, everyone[1:])
        return sent

    round_.tamper = two_lists
    said = refusals(round_)
    assert any("did not sign the list of survivors that this site signed" in reason for reason in said)
    assert not [stage for stage, _ in round_.saw if stage == "reveal"]


def test_no_two_lists_can_both_be_agreed_on(hospitals):
    # The best that a liar can do: give each half the signatures of its own list.
    round_ = hospitals.round(10)
    everyone = tuple(round_.clients)

    def tamper(stage, site, sent):
        late = site > "site-04"
        if stage == "agree" and late:
            return Outcome(everyone, everyone[1:])
        if stage == "reveal":
            return Agreement(tuple(pair for pair in sent.signatures if (pair[0] > "site-04") == late))
        return sent

    round_.tamper = tamper
    assert refusals(round_) == {"5 sites signed the list of survivors, 7 must"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda o: Outcome(o.sharing, o.survivors[1:]), "lacks this site"),
        (lambda o: Outcome(o.sharing[1:], o.survivors[1:]), "names other sites as sharing"),
        (lambda o: Outcome(o.sharing, (*o.survivors, "stranger")), "holds one that sent no shares"),
        (lambda o: Outcome(o.sharing, o.survivors[:6]), "6 sites are left in the sum; this site asks for 7"),
    ],
)
def test_a_list_of_survivors_that_is_wrong_is_not_signed(hospitals, change, words):
    round_ = hospitals.round(10)
    round_.tamper = lambda stage, site, sent: change(sent) if (stage, site) == ("agree", "site-00") else sent
    round_.run()
    assert words in round_.refusals["site-00"]


def test_isolating_a_site_in_a_sparse_graph_is_refused(hospitals):
    round_ = hospitals.round(50)

    def isolate(stage, site, sent):
        if stage != "agree":
            return sent
        ring = Ring(sent.sharing, round_.server._roster.digest)
        victim = ring.order[0]
        claimed = set(sent.sharing) - set(sorted(ring.neighbours(victim))[:14])
        assert len(claimed) >= Plan(50).threshold
        return Outcome(sent.sharing, tuple(sorted(claimed)))

    round_.tamper = isolate
    assert any("single an update out" in reason for reason in refusals(round_))
    assert not [stage for stage, _ in round_.saw if stage == "reveal"]


def test_a_forged_signature_of_the_list_is_noticed(hospitals):
    round_ = hospitals.round(10)

    def forge(stage, site, sent):
        if stage != "reveal":
            return sent
        return Agreement((("site-00", sent.signatures[1][1]), *sent.signatures[1:]))

    round_.tamper = forge
    assert all("site-00 did not sign" in reason for reason in refusals(round_))


def swapped(roster: Roster, site: str, message: KeyMessage) -> Roster:
    return Roster(tuple(message if key.site == site else key for key in roster.keys))


def middle_key(roster: Roster) -> KeyMessage:
    """Return keys of the coordinator's own under the certificate and signature of site-01."""
    return replace(roster.by_site["site-01"], mask=keys.public_of(b"m" * 32))


@pytest.mark.parametrize("part", ["channel", "mask", "commitment", "signature", "certificate"])
def test_tampered_keys_are_noticed(hospitals, part):
    round_ = hospitals.round(5)

    def tamper(stage, site, sent):
        if stage != "shares" or site == "site-01":
            return sent
        one = sent.by_site["site-01"]
        changed = bytearray(getattr(one, part))
        changed[-1] ^= 1
        return swapped(sent, "site-01", replace(one, **{part: bytes(changed)}))

    round_.tamper = tamper
    said = refusals(round_)
    assert said
    assert all("site-01" in reason for reason in said)


def test_the_coordinator_can_not_stand_in_the_middle(hospitals, certify, tmp_path):
    other = Authority.create(tmp_path, "test", "127.0.0.1")
    stranger = certify(other, "site-01", 5)
    revealing = []

    def tamper(stage, site, sent):
        if stage != "shares" or site == "site-01":
            return sent
        mine = replace(
            sent.by_site["site-01"], channel=keys.public_of(b"c" * 32), mask=keys.public_of(b"m" * 32)
        )
        revealing.append(site)
        return swapped(sent, "site-01", stranger.signed(mine))

    round_ = hospitals.round(5)
    round_.tamper = tamper
    said = refusals(round_)
    assert said == {"site-01: the certificate is not signed by this federation's authority"}
    assert len(revealing) == 4


def test_a_certificate_of_another_site_or_of_the_coordinator_does_not_do(hospitals):
    roster = None

    def swap(stage, site, sent):
        nonlocal roster
        if stage == "shares" and site != "site-01":
            roster = sent
            return swapped(sent, "site-01", hospitals.identities["site-02"].signed(middle_key(sent)))
        return sent

    round_ = hospitals.round(5)
    round_.tamper = swap
    assert refusals(round_) == {"the certificate of site-01 is not a certificate of that site"}
    key = derive_private_key(77, SECP384R1())
    server = hospitals.authority.sign_server(key.public_key(), "127.0.0.1")
    forged = replace(hospitals.identities["site-01"], site="coordinator", key=key, certificate=server)
    with pytest.raises(SecureAggregationError, match="not one of a site"):
        hospitals.trust.check(forged.signed(replace(middle_key(roster), site="coordinator")))


def test_an_authority_that_invents_sites_is_stopped_by_pinned_peers(hospitals, certify):
    # The coordinator holds the authority, and certifies a key of its own as site-01's, and an invented site.
    pins = {
        name: key_fingerprint(one.key.public_key()) for name, one in list(hospitals.identities.items())[:5]
    }
    trust = Trust(hospitals.authority.certificate, pins)
    client = SecAggClient(
        hospitals.identities["site-00"], trust, hospitals.round(3).server.header, CLAIMS, least=3
    )
    round_ = hospitals.round(5)
    round_.clients["site-00"] = client

    def tamper(stage, site, sent):
        if (stage, site) == ("shares", "site-00"):
            return swapped(
                sent, "site-01", certify(hospitals.authority, "site-01", 9).signed(middle_key(sent))
            )
        return sent

    round_.tamper = tamper
    round_.run()
    assert "site-01 has another key than the pinned keys" in round_.refusals["site-00"]
    invented = hospitals.identities["site-30"]
    with pytest.raises(SecureAggregationError, match="it is not among the pinned keys"):
        trust.check(invented.signed(replace(middle_key(round_.server._roster), site="site-30")))


@pytest.mark.parametrize("field", ["job", "round", "session"])
def test_replayed_keys_of_another_round_are_noticed(hospitals, field):
    now = hospitals.round(5)
    other = replace(now.server.header, **{field: 6 if field == "round" else b"o" * 32})
    old = SecAggClient(hospitals.identities["site-01"], hospitals.trust, other, CLAIMS, least=3).advertise()

    def replay(stage, site, sent):
        return swapped(sent, "site-01", old) if stage == "shares" and site != "site-01" else sent

    now.tamper = replay
    assert refusals(now) == {"the keys of site-01 are of another round or run"}


def test_replayed_keys_of_the_same_round_are_noticed_by_their_owner(hospitals):
    now = hospitals.round(5)
    earlier = SecAggClient(
        hospitals.identities["site-01"], hospitals.trust, now.server.header, CLAIMS, least=3
    ).advertise()
    now.tamper = lambda stage, _, sent: swapped(sent, "site-01", earlier) if stage == "shares" else sent
    with pytest.raises(SecureAggregationError):
        now.run({"reveal": ["site-02"]})
    assert now.refusals["site-01"] == "this site's own keys are missing, or were swapped"


def test_missing_and_doubled_keys_are_noticed(hospitals):
    round_ = hospitals.round(5)
    round_.tamper = lambda stage, site, sent: (
        Roster(tuple(key for key in sent.keys if key.site != site)) if stage == "shares" else sent
    )
    assert refusals(round_) == {"this site's own keys are missing, or were swapped"}

    round_ = hospitals.round(5)

    def few(stage, site, sent):
        return (
            Roster(tuple(k for k in sent.keys if k.site in (site, "site-03"))) if stage == "shares" else sent
        )

    round_.tamper = few
    assert any("sites sent keys; this site asks for 3" in reason for reason in refusals(round_))

    round_ = hospitals.round(5)

    def copied(stage, site, sent):
        if stage != "shares" or site == "site-02":
            return sent
        one = sent.by_site["site-01"]
        copy = replace(sent.by_site["site-02"], channel=one.channel)
        return swapped(sent, "site-02", hospitals.identities["site-02"].signed(copy))

    round_.tamper = copied
    assert "two sites have the same key" in refusals(round_)


def test_a_key_of_low_order_is_noticed(hospitals):
    round_ = hospitals.round(5)

    def low(stage, site, sent):
        if stage != "shares" or site == "site-02":
            return sent
        bad = hospitals.identities["site-02"].signed(replace(sent.by_site["site-02"], channel=bytes(32)))
        return swapped(sent, "site-02", bad)

    round_.tamper = low
    assert "a public key of site-02 gives no secret" in refusals(round_)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sealed": bytes(82)}, "were changed on the way"),
        ({"recipient": "site-03"}, "are not for this site"),
        ({"sender": "site-30"}, "are not for this site"),
    ],
)
def test_tampered_or_misdirected_shares_are_noticed(hospitals, changes, words):
    def change(stage, site, sent):
        if (stage, site) != ("masked", "site-04"):
            return sent
        *others, last = sent.envelopes
        return Envelopes((*others, replace(last, **changes)))

    round_ = hospitals.round(5)
    round_.tamper = change
    round_.run()
    assert words in round_.refusals["site-04"]


def test_sites_that_were_shown_other_keys_can_not_open_each_others_shares(hospitals):
    # site-05 is in league with the coordinator and has signed two sets of keys.
    round_ = hospitals.round(6)
    header = round_.server.header
    second = SecAggClient(
        hospitals.identities["site-05"], hospitals.trust, header, CLAIMS, least=3
    ).advertise()
    round_.tamper = lambda stage, site, sent: (
        swapped(sent, "site-05", second) if (stage, site) == ("shares", "site-00") else sent
    )
    assert all("other keys than this site" in reason for reason in refusals(round_))
    assert not [stage for stage, _ in round_.saw if stage == "masked"]


def test_stages_can_not_be_skipped_or_repeated(hospitals):
    round_ = hospitals.round(4)
    client = round_.clients["site-00"]
    with pytest.raises(SecureAggregationError, match="is at 'new'"):
        client.agree(Outcome((), ()))
    client.advertise()
    with pytest.raises(SecureAggregationError, match="is at 'advertised'"):
        client.advertise()
    with pytest.raises(SecureAggregationError):
        client.share(Roster(()))
    with pytest.raises(SecureAggregationError, match="is at 'over'"):  # after a failure nothing goes on
        client.share(Roster(()))


# Sites that do what they should not, before an honest coordinator.


def test_a_wrong_share_is_noticed_and_no_wrong_sum_given(hospitals):
    round_ = hospitals.round(5)
    take = round_.server.take_reveal

    def wrong(site, reveal):
        if site == "site-00":
            (first, share), *others = reveal.seeds
            reveal = Reveal(((first, share ^ 1), *others), reveal.keys)
        take(site, reveal)

    round_.server.take_reveal = wrong
    with pytest.raises(SecureAggregationError, match="site-00 do not fit together"):
        round_.run()
    round_ = hospitals.round(10)
    take_ten = round_.server.take_reveal

    def wrong_key(site, reveal):
        if site == "site-00":
            reveal = Reveal(reveal.seeds, ((reveal.keys[0][0], reveal.keys[0][1] ^ 1),))
        take_ten(site, reveal)

    round_.server.take_reveal = wrong_key
    with pytest.raises(SecureAggregationError, match="site-09 do not fit together"):
        round_.run({"masked": ["site-09"]})


def test_the_coordinator_takes_nothing_that_was_not_asked_for(hospitals):
    round_ = hospitals.round(4)
    server = round_.server
    message = round_.clients["site-00"].advertise()
    for site, wrong in (
        ("site-01", message),
        ("site-00", replace(message, header=replace(message.header, round=8))),
    ):
        with pytest.raises(SecureAggregationError, match="another"):
            server.take_keys(site, wrong)
    with pytest.raises(SecureAggregationError, match="not awaited"):
        server.take_masked("site-00", np.zeros(53, np.uint64))
    round_ = hospitals.round(4)
    round_.run()
    with pytest.raises(SecureAggregationError, match="not awaited"):
        round_.server.take_masked("site-00", np.zeros(53, np.uint64))
    with pytest.raises(SecureAggregationError, match="asked for"):
        round_.server.take_reveal("site-00", Reveal((), ()))
    with pytest.raises(SecureAggregationError, match="one for each"):
        round_.server.take_shares("site-00", Envelopes(()))
