-- Every statement that this package sends, by name. Rows travel as one text for each column, which cells() takes apart,
-- short lists as text[]; both are cast here. An array of any other type costs each new session a look-up in the catalogue.
-- {name} stands for the statement of that name.

-- === ownership ===

-- name: try_locks
SELECT id::int AS id, pg_try_advisory_lock(77, id::int) AS taken FROM unnest($1::text[]) AS wanted (id);

-- name: release_locks
SELECT pg_advisory_unlock(77, id::int) FROM unnest($1::text[]) AS taken (id);

-- name: lock_holders
-- A key of two integers shows as classid, objid and objsubid 2.
SELECT v.id, l.pid AS backend_pid, v.host, v.port, v.pid, v.backend_pid = l.pid AS is_recorded
FROM virtual_shards AS v
JOIN pg_locks AS l ON l.objid = v.id
WHERE v.id = ANY ($1::text[]::smallint[])
    AND l.locktype = 'advisory' AND l.classid = 77 AND l.objsubid = 2 AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: terminate_backend
SELECT pg_terminate_backend($1::int);

-- name: take_ownership
UPDATE virtual_shards
SET epoch = epoch + 1, owner = $2::text || ':' || $3::int, host = $2, port = $3, pid = $4::int,
    backend_pid = pg_backend_pid(), updated_at = now()
WHERE id = ANY ($1::text[]::smallint[])
RETURNING id, epoch;

-- name: beat
-- Only from the session that owns the place's virtual shards, so that a successor's word is never replaced by a dead one's.
-- It need not be on disk before the shard goes on.
WITH quick AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO shard_heartbeats AS b (
    slot, host, pid, started_at, beat_at, virtual_shards, resident_markets, deadlines, lag_s, restarts, recent_losses
)
SELECT $1::text, $2::text, $3::int, now(), now(), $4::int, $5::int, $6::int, $7::bigint, $8::int, $9::int
FROM quick
WHERE EXISTS (SELECT FROM virtual_shards WHERE backend_pid = pg_backend_pid() AND pid = $3::int)
ON CONFLICT (slot) DO UPDATE
SET host = excluded.host, pid = excluded.pid, beat_at = now(), virtual_shards = excluded.virtual_shards,
    started_at = CASE WHEN b.pid = excluded.pid THEN b.started_at ELSE now() END,
    resident_markets = excluded.resident_markets, deadlines = excluded.deadlines, lag_s = excluded.lag_s,
    restarts = excluded.restarts, recent_losses = excluded.recent_losses;

-- name: list_virtual_shards
SELECT id, coalesce(host, '') AS host, coalesce(pid, 0) AS pid, epoch FROM virtual_shards ORDER BY id;

-- name: list_heartbeats
SELECT slot, host, pid, started_at, beat_at, extract(epoch FROM now() - beat_at)::float8 AS silent_s, virtual_shards,
    resident_markets, deadlines, lag_s, restarts, recent_losses
FROM shard_heartbeats
ORDER BY slot;

-- name: fence
SELECT id, epoch FROM virtual_shards WHERE id = ANY ($1::text[]::smallint[]) FOR SHARE;

-- === votes ===

-- name: insert_ballots
INSERT INTO vote_records (
    id, market_id, user_pubkey, vote_type, vote, weight, source, request_id, market_version, weight_slot, created_at,
    wallet_signature
)
SELECT id::uuid, market_id, user_pubkey, vote_type, vote::boolean, weight::numeric, 'api', request_id,
    market_version::bigint, weight_slot::bigint, to_timestamp(accepted_at_ms::float8 / 1000), wallet_signature
FROM unnest(
    cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7), cells($8), cells($9), cells($10),
    cells($11)
) AS ballots (
    id, market_id, user_pubkey, vote_type, vote, weight, request_id, market_version, weight_slot, accepted_at_ms,
    wallet_signature
)
ON CONFLICT DO NOTHING
RETURNING id::text;

-- name: vote_columns
-- Of a vote v, counted or not.
v.id::text AS vote_id, v.market_id, v.user_pubkey, v.vote_type, v.vote, v.weight, v.weight_slot, v.source,
    v.tx_signature, (extract(epoch FROM v.created_at) * 1000)::bigint AS accepted_at_ms, v.market_version,
    v.wallet_signature, v.request_id

-- name: counted_vote
SELECT {vote_columns}
FROM vote_records AS v

-- name: uncounted_vote
SELECT {vote_columns}
FROM uncounted_votes AS v

-- name: recorded_votes
-- A superseded vote comes first: the chain vote in its place holds its request_id.
SELECT wanted.vote_id AS wanted_id, found.*
FROM unnest(cells($1), cells($2), cells($3), cells($4), cells($5))
    AS wanted (vote_id, market_id, user_pubkey, vote_type, request_id)
CROSS JOIN LATERAL (
    SELECT 0 AS rank, u.* FROM ({uncounted_vote} WHERE v.id = wanted.vote_id::uuid AND v.reason = 'superseded') AS u
    UNION ALL
    SELECT 1, u.*
    FROM ({uncounted_vote} WHERE v.user_pubkey = wanted.user_pubkey AND v.request_id = wanted.request_id) AS u
    UNION ALL
    SELECT 2, c.*
    FROM ({counted_vote} WHERE v.user_pubkey = wanted.user_pubkey AND v.request_id = wanted.request_id) AS c
    UNION ALL
    SELECT 3, c.*
    FROM (
        {counted_vote}
        WHERE v.market_id = wanted.market_id AND v.user_pubkey = wanted.user_pubkey
            AND v.vote_type = wanted.vote_type
    ) AS c
    ORDER BY rank
    LIMIT 1
) AS found;

-- name: standings
-- The tally and the log now, less what came after: those who ask repeat a vote of a moment ago, so few rows are read
-- however many the market has. Votes of a version that is not saved yet are in neither. `kept` are votes that counted
-- then and were superseded since.
SELECT w.place,
    CASE WHEN w.vote_type = 'proposal' THEN m.likes ELSE m.support END
        - coalesce(later.yes, 0) + coalesce(gone.yes, 0) AS yes,
    CASE WHEN w.vote_type = 'proposal' THEN m.dislikes ELSE m.reject END
        - coalesce(later.no, 0) + coalesce(gone.no, 0) AS no,
    CASE WHEN w.vote_type = 'proposal' THEN m.like_voters ELSE m.support_voters END
        - later.yes_voters + gone.yes_voters AS yes_voters,
    CASE WHEN w.vote_type = 'proposal' THEN m.dislike_voters ELSE m.reject_voters END
        - later.no_voters + gone.no_voters AS no_voters,
    CASE WHEN w.vote_type = 'proposal' THEN m.proposal_log_size ELSE m.dispute_log_size END
        - later.entries - gone.entries AS sequence
FROM unnest(cells($1), cells($2), cells($3), cells($4)) WITH ORDINALITY
    AS w (market_id, vote_type, version, vote_id, place)
JOIN markets AS m ON m.market_id = w.market_id
CROSS JOIN LATERAL (
    SELECT
        sum(weight) FILTER (WHERE vote AND market_version > w.version::bigint) AS yes,
        sum(weight) FILTER (WHERE NOT vote AND market_version > w.version::bigint) AS no,
        count(*) FILTER (WHERE vote AND market_version > w.version::bigint) AS yes_voters,
        count(*) FILTER (WHERE NOT vote AND market_version > w.version::bigint) AS no_voters,
        count(*) FILTER (WHERE (market_version, id) > (w.version::bigint, w.vote_id::uuid)) AS entries
    FROM vote_records AS v
    WHERE v.market_id = w.market_id AND v.vote_type = w.vote_type
        AND v.market_version >= w.version::bigint AND v.market_version <= m.version
) AS later
CROSS JOIN LATERAL (
    SELECT
        sum(weight) FILTER (WHERE vote AND market_version <= w.version::bigint) AS yes,
        sum(weight) FILTER (WHERE NOT vote AND market_version <= w.version::bigint) AS no,
        count(*) FILTER (WHERE vote AND market_version <= w.version::bigint) AS yes_voters,
        count(*) FILTER (WHERE NOT vote AND market_version <= w.version::bigint) AS no_voters,
        count(*) FILTER (WHERE (market_version, id) > (w.version::bigint, w.vote_id::uuid)) AS entries
    FROM uncounted_votes AS v
    WHERE v.market_id = w.market_id AND v.vote_type = w.vote_type AND v.reason = 'superseded'
        AND v.superseded_at_version > w.version::bigint AND v.superseded_at_version <= m.version
) AS gone;

-- name: known_chain_votes
SELECT w.vote_id
FROM unnest(cells($1), cells($2), cells($3), cells($4)) AS w (vote_id, market_id, user_pubkey, vote_type)
WHERE EXISTS (SELECT FROM uncounted_votes AS u WHERE u.id = w.vote_id::uuid)
    OR EXISTS (
        SELECT FROM vote_records AS v
        WHERE v.market_id = w.market_id AND v.user_pubkey = w.user_pubkey AND v.vote_type = w.vote_type
            AND v.source = 'chain'
    );

-- name: recount_votes
SELECT market_id, vote_type,
    coalesce(sum(weight) FILTER (WHERE vote), 0) AS yes, coalesce(sum(weight) FILTER (WHERE NOT vote), 0) AS no,
    count(*) FILTER (WHERE vote) AS yes_voters, count(*) FILTER (WHERE NOT vote) AS no_voters
FROM vote_records
WHERE market_id = ANY ($1::text[])
GROUP BY market_id, vote_type;

-- name: supersede_votes
WITH gone AS (
    DELETE FROM vote_records AS v
    USING unnest(cells($1), cells($2), cells($3), cells($4), cells($5))
        AS w (superseded_by, market_id, user_pubkey, vote_type, at_version)
    WHERE v.market_id = w.market_id AND v.user_pubkey = w.user_pubkey AND v.vote_type = w.vote_type
    RETURNING v.*, w.superseded_by, w.at_version
), moved AS (
    INSERT INTO uncounted_votes (
        id, market_id, user_pubkey, vote_type, vote, weight, source, request_id, tx_signature, market_version,
        created_at, weight_slot, wallet_signature, reason, superseded_by, superseded_at_version
    )
    SELECT id, market_id, user_pubkey, vote_type, vote, weight, source, request_id, tx_signature, market_version,
        created_at, weight_slot, wallet_signature, 'superseded', superseded_by::uuid, at_version::bigint
    FROM gone
    RETURNING *
)
SELECT v.superseded_by::text AS superseded_by, {vote_columns} FROM moved AS v;

-- name: insert_chain_ballots
INSERT INTO vote_records (
    id, market_id, user_pubkey, vote_type, vote, weight, source, request_id, tx_signature, market_version, weight_slot,
    created_at
)
SELECT id::uuid, market_id, user_pubkey, vote_type, vote::boolean, weight::numeric, 'chain', request_id, tx_signature,
    market_version::bigint, weight_slot::bigint, to_timestamp(accepted_at_ms::float8 / 1000)
FROM unnest(
    cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7), cells($8), cells($9), cells($10),
    cells($11)
) AS ballots (
    id, market_id, user_pubkey, vote_type, vote, weight, tx_signature, market_version, weight_slot, accepted_at_ms,
    request_id
);

-- name: keep_late
INSERT INTO uncounted_votes (
    id, market_id, user_pubkey, vote_type, vote, weight, source, tx_signature, market_version, weight_slot,
    created_at, reason
)
SELECT id::uuid, market_id, user_pubkey, vote_type, vote::boolean, weight::numeric, 'chain', tx_signature,
    market_version::bigint, weight_slot::bigint, to_timestamp(accepted_at_ms::float8 / 1000), 'late'
FROM unnest(
    cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7), cells($8), cells($9), cells($10)
) AS ballots (
    id, market_id, user_pubkey, vote_type, vote, weight, tx_signature, market_version, weight_slot, accepted_at_ms
);

-- name: log_entries
-- Both walks go along an index from the position on; a page costs its own rows and those of one version more.
SELECT *
FROM (
    (
        SELECT {vote_columns}, 'counted' AS fate, NULL AS superseded_by
        FROM vote_records AS v
        WHERE v.market_id = $1 AND v.vote_type = $2 AND v.market_version BETWEEN $3::bigint AND $5::bigint
            AND (v.market_version, v.id) > ($3::bigint, $4::text::uuid)
        ORDER BY v.market_version, v.id
        LIMIT $6
    )
    UNION ALL
    (
        SELECT {vote_columns},
            CASE WHEN v.superseded_at_version <= $5::bigint THEN 'superseded' ELSE 'counted' END,
            CASE WHEN v.superseded_at_version <= $5::bigint THEN v.superseded_by::text END
        FROM uncounted_votes AS v
        WHERE v.market_id = $1 AND v.vote_type = $2 AND v.reason = 'superseded'
            AND v.market_version BETWEEN $3::bigint AND $5::bigint
            AND (v.market_version, v.id) > ($3::bigint, $4::text::uuid)
        ORDER BY v.market_version, v.id
        LIMIT $6
    )
) AS entries
ORDER BY market_version, vote_id::uuid
LIMIT $6;

-- name: late_votes
SELECT {vote_columns}, v.reason AS fate, NULL AS superseded_by
FROM uncounted_votes AS v
WHERE v.market_id = $1 AND v.vote_type = $2 AND v.reason = 'late' AND v.market_version >= $3::bigint
    AND (v.market_version, v.id) > ($3::bigint, $4::text::uuid)
ORDER BY v.market_version, v.id
LIMIT $5;

-- name: log_entry
SELECT {vote_columns}, 'counted' AS fate, NULL AS superseded_by
FROM vote_records AS v
WHERE v.market_id = $1 AND v.id = $2::text::uuid
UNION ALL
SELECT {vote_columns}, v.reason, v.superseded_by::text
FROM uncounted_votes AS v
WHERE v.market_id = $1 AND v.id = $2::text::uuid;

-- name: log_entry_of_wallet
SELECT {vote_columns}, 'counted' AS fate, NULL AS superseded_by
FROM vote_records AS v
WHERE v.market_id = $1 AND v.user_pubkey = $2 AND v.vote_type = $3;

-- name: aggregation_columns
SELECT id AS number, intent_id::text AS aggregation_id, market_id, vote_type, votes_size, votes_root, yes_votes, no_votes,
    submitted_yes, submitted_no, percentage_bps, threshold_bps, threshold_met, status, reason, transaction_signature,
    created_at
FROM aggregation_results

-- name: aggregations_of
{aggregation_columns}
WHERE market_id = $1 AND id > $2
ORDER BY id
LIMIT $3;

-- name: covering_aggregation
{aggregation_columns}
WHERE market_id = $1 AND vote_type = $2 AND votes_size >= $3::bigint
    AND ($4::text IS NULL OR intent_id = $4::text::uuid)
ORDER BY id DESC
LIMIT 1;

-- name: tallies_since
-- Tallies as last committed, with up to $4 of the wallets whose counted vote came after the version that is named with
-- each: one snapshot, so with them all the headcount is the number of wallets.
SELECT w.market_id, w.vote_type, m.version,
    CASE WHEN w.vote_type = 'proposal' THEN m.likes ELSE m.support END AS yes,
    CASE WHEN w.vote_type = 'proposal' THEN m.dislikes ELSE m.reject END AS no,
    CASE WHEN w.vote_type = 'proposal' THEN m.like_voters + m.dislike_voters
        ELSE m.support_voters + m.reject_voters END AS voters,
    ARRAY(
        SELECT v.user_pubkey FROM vote_records AS v
        WHERE v.market_id = w.market_id AND v.vote_type = w.vote_type
            AND v.market_version > w.version::bigint AND v.market_version <= m.version
        ORDER BY v.market_version, v.id
        LIMIT $4
    ) AS wallets
FROM unnest(cells($1), cells($2), cells($3)) AS w (market_id, vote_type, version)
JOIN markets AS m ON m.market_id = w.market_id;

-- name: counted_wallets
SELECT market_version, id::text AS vote_id, user_pubkey
FROM vote_records
WHERE market_id = $1 AND vote_type = $2 AND market_version <= $3::bigint
    AND market_version >= $4::bigint AND (market_version, id) > ($4::bigint, $5::text::uuid)
ORDER BY market_version, id
LIMIT $6;

-- name: tallies_by_market
SELECT market_id, version, likes, dislikes, like_voters + dislike_voters AS proposal_voters,
    support, reject, support_voters + reject_voters AS dispute_voters
FROM markets
WHERE market_id > $1
ORDER BY market_id
LIMIT $2;

-- name: list_votes
-- Newest first: a market's versions grow. Each type is walked down vote_records_version by itself, so a page costs its
-- own rows and those of one version more, however many votes there are.
SELECT v.*
FROM (VALUES ('proposal'), ('dispute')) AS kind (vote_type)
CROSS JOIN LATERAL (
    SELECT id::text AS vote_id, market_id, user_pubkey, vote_type, vote, weight, weight_slot, source, tx_signature,
        market_version, created_at
    FROM vote_records AS r
    WHERE r.market_id = $1 AND r.vote_type = kind.vote_type
        AND r.market_version <= $3::bigint AND (r.market_version, r.id) < ($3::bigint, $4::text::uuid)
    ORDER BY r.market_version DESC, r.id DESC
    LIMIT $5
) AS v
WHERE $2::text IS NULL OR kind.vote_type = $2
ORDER BY v.market_version DESC, v.vote_id::uuid DESC
LIMIT $5;

-- === markets ===

-- name: market_row
SELECT
    m.market_id, m.pda, m.creator, m.state, m.version, m.market_seq, m.votes_seq,
    m.likes, m.dislikes, m.like_voters, m.dislike_voters, m.support, m.reject, m.support_voters, m.reject_voters,
    m.confirmed_likes, m.confirmed_dislikes, m.approval_ready, m.voting_closed, m.question, m.category,
    m.observed_slot, m.b_parameter, m.initial_liquidity, m.current_liquidity, m.shares_yes, m.shares_no,
    m.total_volume, m.proposed_outcome, m.final_outcome, m.failures,
    m.proposal_log_size, m.proposal_log_peaks, m.dispute_log_size, m.dispute_log_peaks,
    m.effect_unseen, m.expected_yes, m.expected_no, m.expected_threshold_bps, m.skip_reason,
    m.pool_lamports, m.resolver_fees,
    extract(epoch FROM m.active_at)::bigint AS active_at_s,
    extract(epoch FROM m.stuck_told_at)::bigint AS stuck_told_at_s,
    extract(epoch FROM m.created_at)::bigint AS created_at_s,
    extract(epoch FROM m.approved_at)::bigint AS approved_at_s,
    extract(epoch FROM m.activated_at)::bigint AS activated_at_s,
    extract(epoch FROM m.resolution_proposed_at)::bigint AS resolution_proposed_at_s,
    extract(epoch FROM m.resolved_at)::bigint AS resolved_at_s,
    extract(epoch FROM m.finalized_at)::bigint AS finalized_at_s,
    extract(epoch FROM m.dispute_initiated_at)::bigint AS dispute_initiated_at_s,
    extract(epoch FROM m.cancelled_at)::bigint AS cancelled_at_s,
    extract(epoch FROM m.next_attempt_at)::bigint AS next_attempt_at_s,
    extract(epoch FROM m.next_deadline_at)::bigint AS next_deadline_at_s, m.next_deadline_clock,
    t.id::text AS intent_id, t.market_id AS intent_market_id, t.action, t.attempt, t.yes, t.no
FROM markets AS m
LEFT JOIN chain_transactions AS t ON t.id = m.intent_id

-- name: load_markets
{market_row}
WHERE m.market_id = ANY ($1::text[]);

-- name: load_standings
SELECT s.*, e.epoch FROM ({market_row} WHERE m.market_id = ANY ($1::text[])) AS s CROSS JOIN feed_epoch AS e;

-- name: list_markets
{market_row}
WHERE ($1::text IS NULL OR m.state = $1)
    AND ($2::bigint IS NULL OR (m.created_at, m.market_id) < (to_timestamp($2), $3::text))
ORDER BY m.created_at DESC, m.market_id DESC
LIMIT $4;

-- name: snapshot
SELECT s.*, e.epoch FROM ({market_row} WHERE m.market_id = $1) AS s CROSS JOIN feed_epoch AS e;

-- name: deadlines
SELECT market_id, extract(epoch FROM next_deadline_at)::bigint AS next_deadline_at_s, next_deadline_clock
FROM markets
WHERE vshard = ANY ($1::text[]::smallint[]) AND next_deadline_at IS NOT NULL
ORDER BY next_deadline_at;

-- name: windowed_markets
-- Those that end by the clock, whose deadlines GlobalConfig moves.
SELECT market_id FROM markets
WHERE vshard = ANY ($1::text[]::smallint[]) AND state IN ('RESOLVING', 'DISPUTED');

-- name: insert_markets
INSERT INTO markets (
    market_id, vshard, pda, creator, state, version, market_seq, votes_seq,
    likes, dislikes, like_voters, dislike_voters, support, reject, support_voters, reject_voters,
    confirmed_likes, confirmed_dislikes, approval_ready, voting_closed, question, category,
    observed_slot, b_parameter, initial_liquidity, current_liquidity, shares_yes, shares_no, total_volume,
    proposed_outcome, final_outcome, created_at, approved_at, activated_at, resolution_proposed_at, resolved_at,
    finalized_at, dispute_initiated_at, cancelled_at,
    intent_id, failures, next_attempt_at, next_deadline_at, next_deadline_clock,
    proposal_log_size, proposal_log_peaks, dispute_log_size, dispute_log_peaks,
    effect_unseen, expected_yes, expected_no, expected_threshold_bps, skip_reason,
    active_at, stuck_told_at, pool_lamports, resolver_fees, claims_enabled, claims_available_at
)
SELECT
    market_id, vshard, pda, creator, state, version, market_seq, votes_seq,
    likes, dislikes, like_voters, dislike_voters, support, reject, support_voters, reject_voters,
    confirmed_likes, confirmed_dislikes, approval_ready, voting_closed, question, category,
    observed_slot, b_parameter, initial_liquidity, current_liquidity, shares_yes, shares_no, total_volume,
    proposed_outcome, final_outcome, created_at, approved_at, activated_at, resolution_proposed_at, resolved_at,
    finalized_at, dispute_initiated_at, cancelled_at,
    intent_id, failures, next_attempt_at, next_deadline_at, next_deadline_clock,
    proposal_log_size, proposal_log_peaks, dispute_log_size, dispute_log_peaks,
    effect_unseen, expected_yes, expected_no, expected_threshold_bps, skip_reason,
    active_at, stuck_told_at, pool_lamports, resolver_fees, claims_enabled, claims_available_at
FROM json_populate_recordset(NULL::markets, $1::json)
ON CONFLICT DO NOTHING
RETURNING market_id;

-- name: update_markets
UPDATE markets AS m
SET state = n.state, version = n.version, market_seq = n.market_seq, votes_seq = n.votes_seq,
    likes = n.likes, dislikes = n.dislikes, like_voters = n.like_voters, dislike_voters = n.dislike_voters,
    support = n.support, reject = n.reject, support_voters = n.support_voters, reject_voters = n.reject_voters,
    confirmed_likes = n.confirmed_likes, confirmed_dislikes = n.confirmed_dislikes,
    approval_ready = n.approval_ready, voting_closed = n.voting_closed, question = n.question, category = n.category,
    pda = n.pda, creator = n.creator, observed_slot = n.observed_slot, b_parameter = n.b_parameter,
    initial_liquidity = n.initial_liquidity, current_liquidity = n.current_liquidity,
    shares_yes = n.shares_yes, shares_no = n.shares_no, total_volume = n.total_volume,
    proposed_outcome = n.proposed_outcome, final_outcome = n.final_outcome,
    created_at = n.created_at, approved_at = n.approved_at, activated_at = n.activated_at,
    resolution_proposed_at = n.resolution_proposed_at, resolved_at = n.resolved_at, finalized_at = n.finalized_at,
    dispute_initiated_at = n.dispute_initiated_at, cancelled_at = n.cancelled_at,
    intent_id = n.intent_id, failures = n.failures, next_attempt_at = n.next_attempt_at,
    next_deadline_at = n.next_deadline_at, next_deadline_clock = n.next_deadline_clock,
    proposal_log_size = n.proposal_log_size, proposal_log_peaks = n.proposal_log_peaks,
    dispute_log_size = n.dispute_log_size, dispute_log_peaks = n.dispute_log_peaks,
    effect_unseen = n.effect_unseen, expected_yes = n.expected_yes, expected_no = n.expected_no,
    expected_threshold_bps = n.expected_threshold_bps, skip_reason = n.skip_reason,
    active_at = n.active_at, stuck_told_at = n.stuck_told_at, pool_lamports = n.pool_lamports,
    resolver_fees = n.resolver_fees, claims_enabled = n.claims_enabled, claims_available_at = n.claims_available_at,
    last_state_change = CASE WHEN m.state = n.state THEN m.last_state_change ELSE now() END,
    last_state_change_tx = CASE WHEN m.state = n.state THEN m.last_state_change_tx END,
    updated_at = now()
FROM json_populate_recordset(NULL::markets, $1::json) AS n
WHERE m.market_id = n.market_id AND m.version = n.version - 1
RETURNING m.market_id;

-- name: update_counts
-- What a batch of votes moves; the rest of the row is as it was.
UPDATE markets AS m
SET version = n.version::bigint, market_seq = n.market_seq::bigint, votes_seq = n.votes_seq::bigint,
    likes = n.likes::numeric, dislikes = n.dislikes::numeric,
    like_voters = n.like_voters::bigint, dislike_voters = n.dislike_voters::bigint,
    support = n.support::numeric, reject = n.reject::numeric,
    support_voters = n.support_voters::bigint, reject_voters = n.reject_voters::bigint,
    proposal_log_size = n.proposal_log_size::bigint, proposal_log_peaks = decode(n.proposal_log_peaks, 'hex'),
    dispute_log_size = n.dispute_log_size::bigint, dispute_log_peaks = decode(n.dispute_log_peaks, 'hex'),
    next_deadline_at = to_timestamp(n.next_deadline_at_s::bigint), next_deadline_clock = n.next_deadline_clock,
    updated_at = now()
FROM unnest(
    cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7), cells($8), cells($9),
    cells($10), cells($11), cells($12), cells($13), cells($14), cells($15), cells($16), cells($17), cells($18)
) AS n (
    market_id, version, market_seq, votes_seq, likes, dislikes, like_voters, dislike_voters,
    support, reject, support_voters, reject_voters, proposal_log_size, proposal_log_peaks,
    dispute_log_size, dispute_log_peaks, next_deadline_at_s, next_deadline_clock
)
WHERE m.market_id = n.market_id AND m.version = n.version::bigint - 1
RETURNING m.market_id;

-- name: save_outbox
INSERT INTO feed_outbox (channel, seq, type, payload, votes_seq)
SELECT channel, seq::bigint, type, payload::jsonb, votes_seq::bigint
FROM unnest(cells($1), cells($2), cells($3), cells($4), cells($5))
    WITH ORDINALITY AS o (channel, seq, type, payload, votes_seq, place)
ORDER BY place;

-- name: take_votes
-- The function of this name: a batch of votes as a transaction of its own.
SELECT take_votes(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40
);

-- name: plan_intents
INSERT INTO chain_transactions (id, market_id, vshard, action, attempt, yes, no)
SELECT id::uuid, market_id, vshard::smallint, action, attempt::int, yes::bigint, no::bigint
FROM unnest(cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7))
    AS i (id, market_id, vshard, action, attempt, yes, no);

-- name: apply_settlements
-- now() is the start of this transaction: a state that changed at that instant was changed by the attempt.
WITH applied AS (
    UPDATE chain_transactions SET applied_at = now()
    WHERE id = ANY ($1::text[]::uuid[]) AND applied_at IS NULL
    RETURNING market_id, action, signature
)
UPDATE markets AS m
SET last_action = applied.action,
    last_state_change_tx = CASE
        WHEN m.last_state_change = now() THEN applied.signature ELSE m.last_state_change_tx
    END
FROM applied
WHERE m.market_id = applied.market_id;

-- name: note_aggregations
-- The figures are those of the plan; a later note of the same attempt moves only its status on, and never back.
INSERT INTO aggregation_results AS a (
    intent_id, market_id, vote_type, yes_votes, no_votes, submitted_yes, submitted_no,
    percentage_bps, threshold_bps, threshold_met, status, reason, votes_size, votes_root, synthetic, settled_at
)
SELECT intent_id::uuid, market_id, vote_type, yes_votes::numeric, no_votes::numeric, submitted_yes::bigint,
    submitted_no::bigint, percentage_bps::int, threshold_bps::int, threshold_met::boolean, status, reason,
    votes_size::bigint, votes_root, synthetic::boolean,
    CASE WHEN status IN ('confirmed', 'failed', 'skipped') THEN now() END
FROM unnest(
    cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7), cells($8), cells($9),
    cells($10), cells($11), cells($12), cells($13), cells($14), cells($15)
) AS n (
    intent_id, market_id, vote_type, yes_votes, no_votes, submitted_yes, submitted_no,
    percentage_bps, threshold_bps, threshold_met, status, reason, votes_size, votes_root, synthetic
)
ON CONFLICT (intent_id) DO UPDATE
SET status = excluded.status, reason = excluded.reason, settled_at = excluded.settled_at,
    transaction_signature = coalesce(
        a.transaction_signature, (SELECT signature FROM chain_transactions WHERE id = excluded.intent_id)
    )
WHERE a.status IN ('pending', 'submitted') AND excluded.status <> 'pending';

-- name: raise_alerts
-- An alert that is not resolved counts up and shows the newest facts. Equal keys of one call are one row: a statement
-- may touch a row only once.
WITH raised AS (
    SELECT DISTINCT ON (dedupe_key) dedupe_key, alert_type, severity, market_id, data::jsonb AS data,
        count(*) OVER (PARTITION BY dedupe_key) AS times
    FROM unnest(cells($1), cells($2), cells($3), cells($4), cells($5)) WITH ORDINALITY
        AS a (dedupe_key, alert_type, severity, market_id, data, place)
    ORDER BY dedupe_key, place DESC
), counted AS (
    UPDATE alerts AS a SET occurrences = a.occurrences + r.times, last_at = now(), data = r.data
    FROM raised AS r
    WHERE a.dedupe_key = r.dedupe_key AND a.resolved_at IS NULL
    RETURNING a.dedupe_key
)
INSERT INTO alerts AS a (dedupe_key, alert_type, severity, market_id, data, occurrences)
SELECT dedupe_key, alert_type, severity, market_id, data, times FROM raised AS r
WHERE NOT EXISTS (SELECT FROM counted AS c WHERE c.dedupe_key = r.dedupe_key)
ORDER BY dedupe_key
ON CONFLICT (dedupe_key) WHERE acknowledged_at IS NULL DO UPDATE
SET occurrences = a.occurrences + excluded.occurrences, last_at = now(), data = excluded.data;

-- name: alert_columns
a.id, a.alert_id::text AS alert_id, a.dedupe_key, a.alert_type, a.severity, a.market_id, a.data, a.occurrences,
    a.created_at, a.last_at, a.acknowledged_at, a.resolved_at, a.announced_occurrences;

-- name: list_alerts
SELECT {alert_columns}, coalesce((
    SELECT json_agg(json_build_object('sink', d.sink, 'occasion', d.occasion, 'status', d.status,
        'attempts', d.attempts, 'last_error', d.last_error) ORDER BY d.id)
    FROM (SELECT * FROM alert_deliveries AS d WHERE d.alert = a.id ORDER BY d.id DESC LIMIT $6) AS d
), '[]')::text AS deliveries
FROM alerts AS a
WHERE a.id < $4 AND ($1::text IS NULL OR a.severity = $1) AND ($2::text IS NULL OR a.market_id = $2)
    AND CASE $3::text
        WHEN 'open' THEN a.acknowledged_at IS NULL
        WHEN 'acknowledged' THEN a.acknowledged_at IS NOT NULL AND a.resolved_at IS NULL
        WHEN 'resolved' THEN a.resolved_at IS NOT NULL
        ELSE true END
ORDER BY a.id DESC
LIMIT $5;

-- name: acknowledge_alert
UPDATE alerts AS a SET acknowledged_at = coalesce(a.acknowledged_at, $2) WHERE a.alert_id = $1::text::uuid
RETURNING {alert_columns}, '[]' AS deliveries;

-- name: resolve_alert
UPDATE alerts AS a SET acknowledged_at = coalesce(a.acknowledged_at, $2), resolved_at = coalesce(a.resolved_at, $2)
WHERE a.alert_id = $1::text::uuid
RETURNING {alert_columns}, '[]' AS deliveries;

-- name: resolve_alert_key
UPDATE alerts SET acknowledged_at = coalesce(acknowledged_at, $2), resolved_at = $2
WHERE dedupe_key = $1 AND resolved_at IS NULL;

-- name: alerts_to_announce
-- New ones; open ones that went on although people were told longer ago than their severity's window; those that ended.
SELECT {alert_columns}, '[]' AS deliveries
FROM alerts AS a
LEFT JOIN unnest($2::text[], $3::float8[]) AS w (severity, reminder_s) ON w.severity = a.severity
WHERE (a.occurrences > a.announced_occurrences AND a.acknowledged_at IS NULL
        AND (a.announced_at IS NULL OR a.announced_at <= $1::timestamptz - w.reminder_s * interval '1 second'))
    OR (a.resolved_at IS NOT NULL AND NOT a.end_announced AND a.announced_occurrences > 0)
ORDER BY a.id
LIMIT $4;

-- name: announce_alerts
-- Of several that have read the same alerts one announces each: it stands as it was read.
WITH told AS (
    UPDATE alerts AS a
    SET announced_at = $1, announced_occurrences = n.occurrences, end_announced = a.resolved_at IS NOT NULL
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS n (id, announced, occurrences)
    WHERE a.id = n.id AND a.announced_occurrences = n.announced AND NOT a.end_announced
        AND (a.occurrences > n.announced OR a.resolved_at IS NOT NULL)
    RETURNING a.id, n.occurrences
), queued AS (
    INSERT INTO alert_deliveries (alert, sink, occasion, occurrences, next_attempt_at, created_at)
    SELECT t.id, d.sink, d.occasion, t.occurrences, $1, $1
    FROM told AS t JOIN unnest($5::bigint[], $6::text[], $7::text[]) AS d (alert, sink, occasion) ON d.alert = t.id
    ON CONFLICT DO NOTHING
)
SELECT id FROM told;

-- name: due_sinks
SELECT DISTINCT sink FROM alert_deliveries WHERE status = 'pending' AND next_attempt_at <= $1;

-- name: claim_deliveries
-- `next_attempt_at` is the lease as well: the deliveries of a process that dies come back.
WITH due AS (
    SELECT id FROM alert_deliveries
    WHERE sink = $1 AND status = 'pending' AND next_attempt_at <= $2
    ORDER BY next_attempt_at, id
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE alert_deliveries AS d SET attempts = d.attempts + 1, next_attempt_at = $4 FROM due WHERE d.id = due.id
    RETURNING d.id AS delivery_id, d.alert, d.occasion, d.attempts
)
SELECT c.delivery_id, c.occasion, c.attempts, {alert_columns}, '[]' AS deliveries
FROM claimed AS c JOIN alerts AS a ON a.id = c.alert
ORDER BY c.delivery_id;

-- name: mark_sent_deliveries
UPDATE alert_deliveries SET status = 'sent', last_error = '', settled_at = $2 WHERE id = ANY ($1::bigint[]);

-- name: mark_failed_deliveries
UPDATE alert_deliveries SET last_error = $2, next_attempt_at = $3 WHERE id = ANY ($1::bigint[]) AND status = 'pending';

-- name: give_up_deliveries
UPDATE alert_deliveries SET status = 'given_up', settled_at = $2
WHERE status = 'pending' AND created_at < $1
RETURNING sink;

-- name: prune_deliveries
DELETE FROM alert_deliveries WHERE status <> 'pending' AND settled_at < $1;

-- name: settlements
SELECT id::text AS intent_id, market_id AS intent_market_id, action, attempt, yes, no,
    status, signature, slot, error_name, observed
FROM chain_transactions
WHERE settled_at IS NOT NULL AND applied_at IS NULL AND vshard = ANY ($1::text[]::smallint[])
ORDER BY settled_at, id
LIMIT $2;

-- name: attempts
SELECT id::text AS intent_id, market_id AS intent_market_id, action, attempt, yes, no
FROM chain_transactions
WHERE id = ANY ($1::text[]::uuid[]);

-- name: announce_outbox
-- A hint: it need not be on disk before it is told, and a NOTIFY of its own would wait for that.
BEGIN; SET LOCAL synchronous_commit = off; NOTIFY zmart_outbox; COMMIT;

-- name: wake_notifier
-- The same hint as a statement of the pool.
SELECT pg_notify('zmart_outbox', '');

-- name: ping
SELECT 1;

-- === aggregations ===

-- name: list_aggregations
{aggregation_columns}
WHERE id < $1 AND ($2::text IS NULL OR market_id = $2) AND ($3::text IS NULL OR status = $3)
ORDER BY id DESC
LIMIT $4;

-- === GlobalConfig ===

-- name: chain_config
SELECT slot, admin, backend_authority, proposal_threshold_bps, dispute_threshold_bps, dispute_period_s, is_paused,
    may_aggregate, may_approve
FROM chain_config;

-- name: save_config
-- An older read never overwrites a newer one (T43).
INSERT INTO chain_config AS c (
    slot, admin, backend_authority, proposal_threshold_bps, dispute_threshold_bps, dispute_period_s, is_paused,
    may_aggregate, may_approve
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (only_row) DO UPDATE
SET slot = excluded.slot, admin = excluded.admin, backend_authority = excluded.backend_authority,
    proposal_threshold_bps = excluded.proposal_threshold_bps, dispute_threshold_bps = excluded.dispute_threshold_bps,
    dispute_period_s = excluded.dispute_period_s, is_paused = excluded.is_paused,
    may_aggregate = excluded.may_aggregate, may_approve = excluded.may_approve, read_at = now()
WHERE c.slot <= excluded.slot;

-- === transactions ===

-- name: list_transactions
SELECT id::text AS transaction_id, market_id, action, attempt, status, coalesce(signature, '') AS signature,
    coalesce(last_valid_block_height, 0) AS last_valid_block_height, coalesce(slot, 0) AS slot,
    coalesce(error_name, '') AS error_name, planned_at,
    greatest(planned_at, signed_at, sent_at, confirmed_at, finalized_at, settled_at) AS updated_at,
    (extract(epoch FROM planned_at) * 1000000)::bigint AS planned_us
FROM chain_transactions
WHERE ($1::text IS NULL OR market_id = $1) AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR action = $3)
    AND ($4::text IS NULL OR id = $4::text::uuid)
    AND ($5::bigint IS NULL
        OR (planned_at, id) < (timestamptz 'epoch' + $5 * interval '1 microsecond', $6::text::uuid))
ORDER BY planned_at DESC, id DESC
LIMIT $7;

-- name: open_transactions
SELECT id::text AS intent_id, market_id AS intent_market_id, action, attempt, yes, no,
    status, raw, signature, last_valid_block_height, extract(epoch FROM now() - planned_at)::int AS age_s
FROM chain_transactions
WHERE status IN ('planned', 'signed', 'sent')
ORDER BY planned_at, id
LIMIT $1;

-- name: confirmed_transactions
SELECT id::text AS intent_id, market_id AS intent_market_id, action, attempt, yes, no,
    status, raw, signature, last_valid_block_height, extract(epoch FROM now() - planned_at)::int AS age_s
FROM chain_transactions
WHERE status = 'confirmed'
ORDER BY confirmed_at, id
LIMIT $1;

-- name: fees_of_day
-- What expired was never charged; what was refused may have been, so it counts.
SELECT coalesce(sum(fee_lamports), 0)::bigint AS lamports
FROM chain_transactions
WHERE signed_at > now() - interval '24 hours' AND status <> 'expired';

-- name: mark_signed
UPDATE chain_transactions
SET status = 'signed', raw = $2, signature = $3, blockhash = $4, last_valid_block_height = $5, fee_lamports = $6,
    signed_at = now()
WHERE id = $1::text::uuid AND status = 'planned'
RETURNING id;

-- name: mark_sent
WITH sent AS (
    UPDATE chain_transactions SET status = 'sent', sent_at = now()
    WHERE id = $1::text::uuid AND status = 'signed'
    RETURNING id, signature
), noted AS (
    UPDATE aggregation_results AS a
    SET status = 'submitted', submitted_at = now(), transaction_signature = sent.signature
    FROM sent
    WHERE a.intent_id = sent.id AND a.status = 'pending'
)
SELECT id FROM sent;

-- name: mark_confirmed
UPDATE chain_transactions
SET status = 'confirmed', slot = $2, observed = $3::text::jsonb, confirmed_at = now(), settled_at = now()
WHERE id = $1::text::uuid AND status IN ('signed', 'sent')
RETURNING id;

-- name: mark_finalized
UPDATE chain_transactions SET status = 'finalized', slot = coalesce($2, slot), finalized_at = now()
WHERE id = $1::text::uuid AND status = 'confirmed'
RETURNING id;

-- name: mark_failed
UPDATE chain_transactions
SET status = 'failed', error_name = $2, observed = $3::text::jsonb, settled_at = now()
WHERE id = $1::text::uuid AND status IN ('planned', 'signed', 'sent')
RETURNING id;

-- name: mark_expired
UPDATE chain_transactions
SET status = 'expired', observed = $2::text::jsonb, error_name = $3, settled_at = now()
WHERE id = $1::text::uuid AND status IN ('planned', 'signed', 'sent')
RETURNING id;

-- name: mark_overdue
UPDATE chain_transactions
SET status = 'failed', error_name = $2, settled_at = now()
WHERE id = $1::text::uuid AND status = 'planned'
RETURNING id;

-- name: mark_undone
-- Only once the market has taken the confirmation in, so that it takes in this end as well.
UPDATE chain_transactions
SET status = $2, error_name = $3, observed = $4::text::jsonb, settled_at = now(), applied_at = NULL
WHERE id = $1::text::uuid AND status = 'confirmed' AND applied_at IS NOT NULL
RETURNING id;

-- name: transaction_status
SELECT status, signature, error_name FROM chain_transactions WHERE id = $1::text::uuid;

-- === feed ===

-- name: unpublished
SELECT o.id, o.channel, o.seq, o.type, o.payload, o.created_at, e.epoch, o.votes_seq
FROM feed_outbox AS o
CROSS JOIN feed_epoch AS e
WHERE o.published_at IS NULL
ORDER BY o.id
LIMIT $1;

-- name: market_changes
-- What was told after $2 in each market of $1, at most $3 of each; one row without a change for who has heard all.
SELECT e.epoch, w.market_id, o.seq, o.type, o.payload, o.created_at
FROM unnest(cells($1), cells($2)) AS w (market_id, seq)
CROSS JOIN feed_epoch AS e
LEFT JOIN LATERAL (
    SELECT seq, type, payload, created_at FROM feed_outbox
    WHERE channel = 'market_' || w.market_id AND seq > w.seq::bigint
    ORDER BY seq
    LIMIT $3
) AS o ON true
ORDER BY w.market_id, o.seq;

-- name: mark_published
UPDATE feed_outbox SET published_at = now()
WHERE id = ANY ($1::text[]::bigint[]) AND published_at IS NULL;

-- name: prune_published
DELETE FROM feed_outbox
WHERE id IN (
    SELECT id FROM feed_outbox
    WHERE published_at < now() - make_interval(secs => $1::bigint)
    ORDER BY published_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING id;

-- === sign-in ===

-- name: put_nonce
-- Each new challenge clears away up to $5 that nobody answered, so the table does not grow.
WITH forgotten AS (
    DELETE FROM auth_nonces
    WHERE nonce IN (
        SELECT nonce FROM auth_nonces WHERE expires_at < now() ORDER BY expires_at LIMIT $5 FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO auth_nonces (nonce, address, message, expires_at) VALUES ($1, $2, $3, to_timestamp($4::bigint));

-- name: take_nonce
DELETE FROM auth_nonces WHERE nonce = $1 AND address = $2 RETURNING message, expires_at > now() AS is_valid;

-- === sessions ===

-- name: open_family
-- Each sign-in clears away up to $5 that have ended, so the table does not grow.
WITH forgotten AS (
    DELETE FROM refresh_families
    WHERE id IN (
        SELECT id FROM refresh_families WHERE expires_at < now() ORDER BY expires_at LIMIT $5 FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO refresh_families (id, wallet, secret_hash, expires_at) VALUES ($1, $2, $3, to_timestamp($4::bigint));

-- name: turn_family
-- Replaces the secret, or ends the family when another secret than the newest is brought. Of any number of calls with
-- one secret the row's lock lets one through; the next sees a secret that was replaced.
WITH family AS (
    SELECT id, wallet, secret_hash, expires_at, revoked_at FROM refresh_families WHERE id = $1 FOR UPDATE
), turned AS (
    UPDATE refresh_families AS f SET secret_hash = $3 FROM family
    WHERE f.id = family.id AND family.secret_hash = $2 AND family.revoked_at IS NULL AND family.expires_at > now()
), ended AS (
    UPDATE refresh_families AS f SET revoked_at = now() FROM family
    WHERE f.id = family.id AND family.secret_hash <> $2 AND family.revoked_at IS NULL
)
SELECT wallet, CASE
    WHEN revoked_at IS NOT NULL THEN 'revoked'
    WHEN secret_hash <> $2 THEN 'reused'
    WHEN expires_at <= now() THEN 'expired'
    ELSE 'turned'
END AS verdict FROM family;

-- name: end_families
UPDATE refresh_families SET revoked_at = now()
WHERE wallet = $1 AND revoked_at IS NULL AND expires_at > now() RETURNING id;

-- name: note_operator_token
-- Those that ended a month ago are forgotten, for each start of a system notes one.
WITH forgotten AS (DELETE FROM operator_tokens WHERE expires_at < now() - interval '30 days')
INSERT INTO operator_tokens (id, label, expires_at) VALUES ($1, $2, to_timestamp($3::bigint));

-- name: revoke_operator_token
INSERT INTO operator_tokens AS t (id, expires_at, revoked_at) VALUES ($1, to_timestamp($2::bigint), now())
ON CONFLICT (id) DO UPDATE SET revoked_at = coalesce(t.revoked_at, now());

-- name: is_operator_token_revoked
SELECT EXISTS (SELECT FROM operator_tokens WHERE id = $1 AND revoked_at IS NOT NULL) AS is_revoked;

-- name: list_operator_tokens
SELECT id, label, issued_at, expires_at, revoked_at FROM operator_tokens ORDER BY issued_at DESC, id LIMIT $1;

-- === indexer: bodies on their way in ===

-- name: put_bodies
-- In the order in which they came, which is that of the numbers that come back.
INSERT INTO webhook_inbox (source, body, traceparent)
SELECT $1, b.body, b.traceparent
FROM unnest($2::bytea[], $3::text[]) WITH ORDINALITY AS b (body, traceparent, n)
ORDER BY b.n
RETURNING id;

-- name: keep_sample
-- Each new sample clears away those beyond the newest $3, so the table does not grow.
WITH forgotten AS (
    DELETE FROM webhook_inbox
    WHERE id IN (SELECT id FROM webhook_inbox WHERE status = 'rejected' ORDER BY id DESC OFFSET $3 - 1)
        AND status = 'rejected'
)
INSERT INTO webhook_inbox (source, body, status, last_error, ended_at) VALUES ('webhook', $1, 'rejected', $2, now());

-- name: index_due
-- Each in the order of the index of what is open: EXISTS would be free to walk a whole table that looks full of it.
SELECT
    (SELECT id FROM webhook_inbox WHERE status = 'pending' AND next_attempt_at <= now()
        ORDER BY next_attempt_at, id LIMIT 1) IS NOT NULL AS bodies,
    (SELECT id FROM market_effects WHERE next_attempt_at <= now()
        ORDER BY next_attempt_at, id LIMIT 1) IS NOT NULL AS effects,
    (SELECT signature FROM wanted_transactions WHERE next_attempt_at <= now()
        ORDER BY next_attempt_at LIMIT 1) IS NOT NULL AS signatures,
    (SELECT slot FROM indexed_transactions WHERE commitment = 'confirmed'
        ORDER BY slot, signature LIMIT 1) IS NOT NULL AS confirmed,
    (SELECT touched_slot FROM positions WHERE slot < touched_slot
        ORDER BY touched_slot LIMIT 1) IS NOT NULL AS positions,
    (SELECT id FROM reconciliation_runs WHERE finished_at IS NULL AND started_at IS NULL
        ORDER BY requested_at LIMIT 1) IS NOT NULL AS runs;

-- name: lease_bodies
-- The try is counted before it is made, so that a body which kills its worker ends as well.
WITH due AS (
    SELECT id FROM webhook_inbox
    WHERE status = 'pending' AND next_attempt_at <= now()
    ORDER BY next_attempt_at, id
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE webhook_inbox AS w
SET next_attempt_at = now() + make_interval(secs => $2), attempts = attempts + 1
FROM due
WHERE w.id = due.id
RETURNING w.id, w.source, w.body, w.attempts, w.traceparent;

-- name: return_bodies
UPDATE webhook_inbox
SET next_attempt_at = now() + make_interval(secs => $2), last_error = $3,
    attempts = attempts - CASE WHEN $4 THEN 0 ELSE 1 END
WHERE id = ANY ($1::text[]::bigint[]) AND status = 'pending';

-- name: finish_bodies
UPDATE webhook_inbox SET status = 'done', ended_at = now()
WHERE id = ANY ($1::text[]::bigint[]) AND status = 'pending';

-- name: bury_body
WITH buried AS (
    UPDATE webhook_inbox SET status = 'dead', ended_at = now(), last_error = $2
    WHERE id = $1 AND status = 'pending'
    RETURNING body
)
INSERT INTO dead_letters (kind, body, error) SELECT 'webhook', body, $2 FROM buried;

-- name: prune_inbox
DELETE FROM webhook_inbox
WHERE id IN (
    SELECT id FROM webhook_inbox
    WHERE status = 'done' AND ended_at < now() - make_interval(secs => $1)
    ORDER BY ended_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING id;

-- === indexer: signatures on their way in ===

-- name: want_transactions
INSERT INTO wanted_transactions (signature, slot, source, next_attempt_at)
SELECT signature, slot::bigint, source, now() + make_interval(secs => $4)
FROM unnest(cells($1), cells($2), cells($3)) AS w (signature, slot, source)
WHERE NOT EXISTS (
    SELECT FROM indexed_transactions AS t WHERE t.signature = w.signature AND t.commitment <> 'dropped'
)
ORDER BY signature
ON CONFLICT DO NOTHING;

-- name: lease_wanted
WITH due AS (
    SELECT signature FROM wanted_transactions
    WHERE next_attempt_at <= now()
    ORDER BY next_attempt_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE wanted_transactions AS w
SET next_attempt_at = now() + make_interval(secs => $2), attempts = attempts + 1
FROM due
WHERE w.signature = due.signature
RETURNING w.signature, w.slot, w.source, w.attempts, extract(epoch FROM now() - w.wanted_at)::float8 AS age_s;

-- name: return_wanted
UPDATE wanted_transactions AS w
SET next_attempt_at = now() + make_interval(secs => r.delay_s::float8), last_error = $3
FROM unnest(cells($1), cells($2)) AS r (signature, delay_s)
WHERE w.signature = r.signature;

-- name: forget_wanted
DELETE FROM wanted_transactions WHERE signature = ANY ($1::text[]);

-- name: known_transactions
SELECT signature FROM indexed_transactions WHERE signature = ANY ($1::text[]) AND commitment <> 'dropped'
UNION ALL
SELECT signature FROM wanted_transactions WHERE signature = ANY ($1::text[]);

-- name: finalized_transactions
SELECT signature FROM indexed_transactions WHERE signature = ANY ($1::text[]) AND commitment = 'finalized';

-- === indexer: what was read ===

-- name: take_transactions
-- Only what is news comes back: a new transaction, one that is back after its slot was dropped, or one whose place in
-- its block is known by now. In the order of signatures, so that workers which meet wait in one order.
INSERT INTO indexed_transactions AS t (
    signature, slot, block_index, block_time, err, commitment, source, event_count, is_incomplete, settled_at
)
SELECT signature, slot::bigint, block_index::int, to_timestamp(block_time::float8), err, commitment, source,
    event_count::int, is_incomplete::boolean, CASE WHEN commitment = 'finalized' THEN now() END
FROM unnest(
    cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7), cells($8), cells($9)
) AS n (signature, slot, block_index, block_time, err, commitment, source, event_count, is_incomplete)
ORDER BY signature
ON CONFLICT (signature) DO UPDATE
SET slot = excluded.slot, block_index = excluded.block_index,
    block_time = coalesce(excluded.block_time, t.block_time), err = excluded.err,
    commitment = CASE WHEN t.commitment = 'dropped' THEN excluded.commitment ELSE t.commitment END,
    settled_at = CASE WHEN t.commitment = 'dropped' THEN excluded.settled_at ELSE t.settled_at END,
    event_count = excluded.event_count, is_incomplete = excluded.is_incomplete
WHERE t.commitment = 'dropped'
    OR (t.slot = excluded.slot AND t.block_index IS NULL AND excluded.block_index IS NOT NULL)
RETURNING signature;

-- name: take_events
INSERT INTO event_logs AS e (
    transaction_signature, event_index, event_hash, block_slot, block_index, block_time, event_type, market_id,
    user_pubkey, event_data, raw, fault, commitment, timestamp
)
SELECT signature, event_index::int, event_hash, slot::bigint, block_index::int, to_timestamp(block_time::float8),
    event_type, market_id, user_pubkey, event_data::jsonb, decode(raw, 'hex'), fault, commitment,
    to_timestamp(unix_s::float8)
FROM unnest(
    cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7), cells($8), cells($9), cells($10),
    cells($11), cells($12), cells($13), cells($14)
) AS n (
    signature, event_index, event_hash, slot, block_index, block_time, event_type, market_id, user_pubkey, event_data,
    raw, fault, commitment, unix_s
)
ORDER BY signature, event_index::int
ON CONFLICT ON CONSTRAINT event_logs_once DO UPDATE
SET event_hash = excluded.event_hash, block_slot = excluded.block_slot, block_index = excluded.block_index,
    block_time = excluded.block_time, event_type = excluded.event_type, market_id = excluded.market_id,
    user_pubkey = excluded.user_pubkey, event_data = excluded.event_data, raw = excluded.raw, fault = excluded.fault,
    commitment = excluded.commitment, timestamp = excluded.timestamp
WHERE e.commitment = 'dropped'
RETURNING transaction_signature, event_index;

-- name: place_events
UPDATE event_logs AS e SET block_index = t.block_index
FROM indexed_transactions AS t
WHERE t.signature = ANY ($1::text[]) AND e.transaction_signature = t.signature
    AND e.block_index IS NULL AND t.block_index IS NOT NULL;

-- name: market_ids_at
SELECT pda, market_id FROM market_addresses WHERE pda = ANY ($1::text[])
UNION
SELECT pda, market_id FROM markets WHERE pda = ANY ($1::text[]);

-- name: learn_addresses
INSERT INTO market_addresses (pda, market_id)
SELECT pda, market_id FROM unnest(cells($1), cells($2)) AS n (pda, market_id)
ORDER BY pda
ON CONFLICT DO NOTHING;

-- name: indexer_cursor
SELECT slot, signature, finalized_slot FROM indexer_cursor WHERE program_id = $1;

-- name: move_cursor
-- Never back: of two that sweep at once the one behind changes nothing.
INSERT INTO indexer_cursor AS c (program_id, slot, signature, finalized_slot)
VALUES ($1, $2, $3, $4)
ON CONFLICT (program_id) DO UPDATE
SET slot = greatest(c.slot, excluded.slot),
    signature = CASE WHEN excluded.slot >= c.slot THEN coalesce(excluded.signature, c.signature) ELSE c.signature END,
    finalized_slot = greatest(c.finalized_slot, excluded.finalized_slot),
    swept_at = CASE WHEN $5 THEN now() ELSE c.swept_at END;

-- === indexer: finality ===

-- name: confirmed_signatures
SELECT signature, slot FROM indexed_transactions
WHERE commitment = 'confirmed' AND slot <= $1
ORDER BY slot, signature
LIMIT $2;

-- name: settle_transactions
UPDATE indexed_transactions SET commitment = $2, settled_at = now()
WHERE signature = ANY ($1::text[]) AND commitment = 'confirmed'
RETURNING signature;

-- name: settle_events
UPDATE event_logs SET commitment = $2
WHERE transaction_signature = ANY ($1::text[]) AND commitment = 'confirmed'
RETURNING transaction_signature, event_index, event_hash, block_slot, block_index,
    extract(epoch FROM block_time)::bigint AS block_time_s, event_type, market_id, user_pubkey, event_data, raw, fault,
    extract(epoch FROM timestamp)::bigint AS timestamp_s, commitment;

-- name: move_transaction
WITH moved AS (
    UPDATE indexed_transactions SET slot = $2, block_index = NULL
    WHERE signature = $1 AND commitment = 'confirmed' AND slot <> $2
    RETURNING signature
)
UPDATE event_logs SET block_slot = $2, block_index = NULL
FROM moved
WHERE transaction_signature = moved.signature;

-- name: forget_votes
DELETE FROM market_effects WHERE kind = 'vote' AND transaction_signature = ANY ($1::text[]);

-- === indexer: what markets are to hear ===

-- name: add_effects
INSERT INTO market_effects (market_id, kind, slot, transaction_signature, user_pubkey, vote_type)
SELECT market_id, CASE WHEN signature IS NULL THEN 'observe' ELSE 'vote' END, slot::bigint, signature, user_pubkey,
    vote_type
FROM unnest(cells($1), cells($2), cells($3), cells($4), cells($5)) WITH ORDINALITY
    AS n (market_id, slot, signature, user_pubkey, vote_type, place)
ORDER BY place;

-- name: lease_effects
WITH due AS (
    SELECT id FROM market_effects
    WHERE next_attempt_at <= now()
    ORDER BY next_attempt_at, id
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE market_effects AS m
SET next_attempt_at = now() + make_interval(secs => $2), attempts = attempts + 1
FROM due
WHERE m.id = due.id
RETURNING m.id, m.market_id, m.slot, m.transaction_signature, m.user_pubkey, m.vote_type, m.attempts;

-- name: finish_effects
DELETE FROM market_effects WHERE id = ANY ($1::text[]::bigint[]);

-- name: defer_effects
UPDATE market_effects AS m
SET next_attempt_at = now() + make_interval(secs => d.delay_s::float8), last_error = $3,
    attempts = attempts - CASE WHEN $4 THEN 0 ELSE 1 END
FROM unnest(cells($1), cells($2)) AS d (id, delay_s)
WHERE m.id = d.id::bigint;

-- === indexer: what was given up ===

-- name: bury
INSERT INTO dead_letters (kind, body, error) VALUES ($1, $2, $3);

-- name: dead_letters
SELECT id, kind, body, error, to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS created_at
FROM dead_letters
WHERE replayed_at IS NULL AND id > $1
ORDER BY id
LIMIT $2;

-- name: mark_replayed
UPDATE dead_letters SET replayed_at = now() WHERE id = $1 AND replayed_at IS NULL RETURNING kind, body;

-- name: indexer_standing
-- How far behind the way in is: seconds since the oldest waiting body came, slots and seconds of the last sweep.
SELECT
    (SELECT extract(epoch FROM now() - min(received_at))::float8 FROM webhook_inbox WHERE status = 'pending')
        AS inbox_age_s,
    (SELECT count(*) FROM webhook_inbox WHERE status = 'pending') AS inbox_count,
    (SELECT count(*) FROM wanted_transactions) AS wanted_count,
    (SELECT count(*) FROM market_effects) AS effect_count,
    (SELECT count(*) FROM dead_letters WHERE replayed_at IS NULL) AS dead_count,
    c.slot, c.finalized_slot - c.slot AS lag_slots, extract(epoch FROM now() - c.swept_at)::float8 AS swept_s,
    (SELECT extract(epoch FROM now() - beat_at)::float8 FROM heartbeats WHERE role = 'indexer') AS beat_s
FROM (SELECT $1::text AS program_id) AS p
LEFT JOIN indexer_cursor AS c USING (program_id);

-- === projections ===

-- name: add_trades
INSERT INTO trades (
    transaction_signature, event_index, market_id, user_pubkey, is_buy, outcome, shares, amount, new_price_yes, block_slot,
    traded_at
)
SELECT signature, event_index::int, market_id, user_pubkey, is_buy::boolean, outcome::boolean, shares::numeric,
    amount::numeric, new_price_yes::numeric, slot::bigint, to_timestamp(at_s::bigint)
FROM unnest(
    cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7), cells($8), cells($9), cells($10), cells($11)
) AS t (
    signature, event_index, market_id, user_pubkey, is_buy, outcome, shares, amount, new_price_yes, slot, at_s
)
ON CONFLICT DO NOTHING;

-- name: touch_positions
-- In the order of the key, so that two workers never wait for each other in a circle.
INSERT INTO positions AS p (market_id, user_pubkey, touched_slot)
SELECT market_id, user_pubkey, max(slot::bigint)
FROM unnest(cells($1), cells($2), cells($3)) AS t (market_id, user_pubkey, slot)
GROUP BY market_id, user_pubkey
ORDER BY market_id, user_pubkey
ON CONFLICT (market_id, user_pubkey) DO UPDATE SET touched_slot = excluded.touched_slot
WHERE p.touched_slot < excluded.touched_slot;

-- name: touch_markets_positions
-- Every position of markets whose trading has ended: read once more, it is final.
UPDATE positions AS p SET touched_slot = t.slot
FROM (
    SELECT q.market_id, q.user_pubkey, n.slot
    FROM (
        SELECT market_id, max(slot::bigint) AS slot
        FROM unnest(cells($1), cells($2)) AS ended (market_id, slot) GROUP BY market_id
    ) AS n
    JOIN positions AS q ON q.market_id = n.market_id AND q.touched_slot < n.slot
    ORDER BY q.market_id, q.user_pubkey
    FOR UPDATE OF q
) AS t
WHERE p.market_id = t.market_id AND p.user_pubkey = t.user_pubkey;

-- name: count_events
INSERT INTO event_counts AS c (market_id, event_type, count)
SELECT market_id, event_type, sum(more::bigint)
FROM unnest(cells($1), cells($2), cells($3)) AS t (market_id, event_type, more)
GROUP BY market_id, event_type
ORDER BY market_id, event_type
ON CONFLICT (market_id, event_type) DO UPDATE SET count = c.count + excluded.count;

-- name: trades_around
-- What the trades of a market up to a slot come to without one transaction's; one row for each wallet of $2 that has any,
-- and one for all others together. "Before" is before place ($4, $5); in that slot only known places can tell.
SELECT CASE WHEN t.user_pubkey = ANY ($2::text[]) THEN t.user_pubkey END AS wallet, count(*) AS count,
    coalesce(sum(s.shares) FILTER (WHERE t.outcome), 0)::bigint AS yes,
    coalesce(sum(s.shares) FILTER (WHERE NOT t.outcome), 0)::bigint AS no,
    coalesce(sum(t.amount) FILTER (WHERE t.is_buy), 0)::bigint AS invested,
    coalesce(sum(s.shares) FILTER (WHERE t.outcome AND s.is_before), 0)::bigint AS yes_before,
    coalesce(sum(s.shares) FILTER (WHERE NOT t.outcome AND s.is_before), 0)::bigint AS no_before,
    count(*) FILTER (WHERE s.is_before IS NULL) AS unplaced_count
FROM trades AS t
JOIN event_logs AS e USING (transaction_signature, event_index)
CROSS JOIN LATERAL (
    SELECT CASE WHEN t.is_buy THEN t.shares ELSE -t.shares END AS shares,
        CASE WHEN t.block_slot = $4 THEN e.block_index < $5 ELSE t.block_slot < $4 END AS is_before
) AS s
WHERE t.market_id = $1 AND t.transaction_signature <> $3 AND t.block_slot <= $6
GROUP BY 1;

-- name: drop_trades
DELETE FROM trades AS t
USING unnest(cells($1), cells($2)) AS d (signature, event_index)
WHERE t.transaction_signature = d.signature AND t.event_index = d.event_index::int;

-- name: distrust_positions
-- What was read may have been read on a fork that is gone: only a read of a later slot counts from now on.
UPDATE positions AS p SET touched_slot = greatest(p.touched_slot, p.slot + 1)
FROM (
    SELECT q.market_id, q.user_pubkey
    FROM positions AS q
    JOIN unnest(cells($1), cells($2)) AS d (market_id, user_pubkey)
        ON q.market_id = d.market_id AND q.user_pubkey = d.user_pubkey
    ORDER BY q.market_id, q.user_pubkey
    FOR UPDATE OF q
) AS t
WHERE p.market_id = t.market_id AND p.user_pubkey = t.user_pubkey;

-- name: distrust_markets_positions
UPDATE positions AS p SET touched_slot = greatest(p.touched_slot, p.slot + 1)
FROM (
    SELECT market_id, user_pubkey FROM positions
    WHERE market_id = ANY (cells($1))
    ORDER BY market_id, user_pubkey
    FOR UPDATE
) AS t
WHERE p.market_id = t.market_id AND p.user_pubkey = t.user_pubkey;

-- name: stale_positions
SELECT market_id, user_pubkey, touched_slot
FROM positions
WHERE slot < touched_slot AND touched_slot <= $2
ORDER BY touched_slot
LIMIT $1;

-- name: save_positions
-- An older read never overwrites a newer one (T43). What a read changes is told to its wallet in the same statement: one
-- message for each position, numbered without a gap, because whoever numbers holds the row of the wallet's channel.
-- Rows are locked in the order of their keys: positions, which are there since an event touched them, then channels.
WITH n AS (
    SELECT market_id, user_pubkey, pda, shares_yes::numeric, shares_no::numeric, total_invested::numeric,
        trades_count::bigint, to_timestamp(nullif(last_trade_at_s::bigint, 0)) AS last_trade_at,
        has_claimed::boolean, claimed_amount::numeric, slot::bigint, payload::jsonb
    FROM unnest(
        cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7), cells($8), cells($9), cells($10),
        cells($11), cells($12)
    ) AS n (
        market_id, user_pubkey, pda, shares_yes, shares_no, total_invested, trades_count, last_trade_at_s, has_claimed,
        claimed_amount, slot, payload
    )
), before AS MATERIALIZED (
    SELECT p.market_id, p.user_pubkey, p.shares_yes, p.shares_no, p.total_invested, p.trades_count, p.has_claimed,
        p.claimed_amount
    FROM positions AS p JOIN n USING (market_id, user_pubkey)
    ORDER BY p.market_id, p.user_pubkey
    FOR UPDATE OF p
), known AS MATERIALIZED (
    SELECT n.*,
        (n.shares_yes, n.shares_no, n.total_invested, n.trades_count, n.has_claimed, n.claimed_amount)
        <> (
            coalesce(b.shares_yes, 0), coalesce(b.shares_no, 0), coalesce(b.total_invested, 0),
            coalesce(b.trades_count, 0), coalesce(b.has_claimed, false), coalesce(b.claimed_amount, 0)
        ) AS is_news
    FROM n LEFT JOIN before AS b USING (market_id, user_pubkey)
), saved AS (
    INSERT INTO positions AS p (
        market_id, user_pubkey, pda, shares_yes, shares_no, total_invested, trades_count, last_trade_at, has_claimed,
        claimed_amount, slot
    )
    SELECT market_id, user_pubkey, pda, shares_yes, shares_no, total_invested, trades_count, last_trade_at, has_claimed,
        claimed_amount, slot
    FROM known
    ORDER BY market_id, user_pubkey
    ON CONFLICT (market_id, user_pubkey) DO UPDATE
    SET pda = excluded.pda, shares_yes = excluded.shares_yes, shares_no = excluded.shares_no,
        total_invested = excluded.total_invested, trades_count = excluded.trades_count,
        last_trade_at = excluded.last_trade_at, has_claimed = excluded.has_claimed,
        claimed_amount = excluded.claimed_amount, slot = excluded.slot, updated_at = now()
    WHERE p.slot < excluded.slot
    RETURNING market_id, user_pubkey
), news AS MATERIALIZED (
    SELECT user_pubkey, payload, row_number() OVER (PARTITION BY user_pubkey ORDER BY market_id) AS place
    FROM saved JOIN known USING (market_id, user_pubkey)
    WHERE is_news
), numbered AS (
    INSERT INTO position_channels AS c (user_pubkey, seq)
    SELECT user_pubkey, count(*) FROM news GROUP BY user_pubkey ORDER BY user_pubkey
    ON CONFLICT (user_pubkey) DO UPDATE SET seq = c.seq + excluded.seq
    RETURNING user_pubkey, seq
), told AS (
    INSERT INTO feed_outbox (channel, seq, type, payload)
    SELECT 'user_' || user_pubkey || '_positions',
        d.seq - count(*) OVER (PARTITION BY user_pubkey) + n.place, 'POSITION_UPDATE', n.payload
    FROM news AS n JOIN numbered AS d USING (user_pubkey)
    ORDER BY user_pubkey, n.place
    RETURNING 1
)
SELECT market_id, user_pubkey, (SELECT count(*) FROM told) AS told_count FROM saved;

-- name: positions_snapshot
-- Everything a wallet holds, the newest trade first, and the last message of its channel, as of one moment; one row with
-- a NULL market_id for a wallet that holds nothing.
SELECT e.epoch, coalesce(c.seq, 0) AS seq, p.*
FROM feed_epoch AS e
LEFT JOIN position_channels AS c ON c.user_pubkey = $1
LEFT JOIN LATERAL (
    SELECT market_id, user_pubkey, pda, shares_yes, shares_no, total_invested, trades_count, has_claimed,
        claimed_amount, slot, touched_slot, coalesce(extract(epoch FROM last_trade_at)::bigint, 0) AS last_trade_at_s
    FROM positions
    WHERE user_pubkey = $1 AND slot > 0 AND trades_count > 0
    ORDER BY last_trade_at DESC NULLS LAST, market_id
    LIMIT $2
) AS p ON true;

-- name: role_beat
INSERT INTO heartbeats (role) VALUES ($1) ON CONFLICT (role) DO UPDATE SET beat_at = now();

-- name: keep_breaker
INSERT INTO breakers (name, is_open) VALUES ($1, $2::boolean)
ON CONFLICT (name) DO UPDATE SET is_open = excluded.is_open, changed_at = now();

-- name: kept_breakers
SELECT name, is_open FROM breakers ORDER BY name;

-- name: role_beats
SELECT role, extract(epoch FROM now() - beat_at)::float8 AS age_s FROM heartbeats ORDER BY role;

-- name: shard_beats
-- Places whose process was the last to own virtual shards, so none of a wider run of earlier; a start that fails leaves both
-- as they were. What no process has ever owned counts from its migration, under a name of its own.
SELECT b.slot AS role, extract(epoch FROM now() - b.beat_at)::float8 AS age_s
FROM shard_heartbeats AS b
WHERE EXISTS (SELECT FROM virtual_shards AS v WHERE v.host = b.host AND v.pid = b.pid)
UNION ALL
SELECT 'unowned', coalesce(extract(epoch FROM now() - min(updated_at)), 0)::float8
FROM virtual_shards WHERE owner IS NULL
ORDER BY role;

-- name: position_row
SELECT market_id, user_pubkey, pda, shares_yes, shares_no, total_invested, trades_count, has_claimed, claimed_amount, slot,
    touched_slot, coalesce(extract(epoch FROM last_trade_at)::bigint, 0) AS last_trade_at_s
FROM positions

-- name: known_position
-- Good for `min_slot` or later: read by then, or read after trading ended, for then nothing can change it any more.
{position_row}
WHERE market_id = $1 AND user_pubkey = $2 AND slot >= touched_slot AND slot > 0
    AND slot >= least($3::bigint, coalesce((
        SELECT max(block_slot) FROM event_logs
        WHERE market_id = $1 AND event_type = 'MarketResolved' AND commitment <> 'dropped'
    ), $3::bigint));

-- === events ===

-- name: event_row
SELECT transaction_signature, event_index, block_slot, coalesce(block_index, -1) AS block_index, event_type, market_id,
    user_pubkey, event_data, commitment, timestamp
FROM event_logs

-- name: slots_between
-- The slots of a range of time, with 10 s of slack: a block's time and its events' may differ by a second or two, and the
-- events themselves are held against the exact range. NULL where no event is that new or that old.
SELECT
    (SELECT block_slot FROM event_logs WHERE timestamp >= $1::timestamptz - interval '10 seconds'
        ORDER BY timestamp LIMIT 1) AS first,
    (SELECT block_slot FROM event_logs WHERE timestamp < $2::timestamptz + interval '10 seconds'
        ORDER BY timestamp DESC LIMIT 1) AS last;

-- name: matching_events
WHERE (block_slot, coalesce(block_index, -1), transaction_signature, event_index)
        < ($1::bigint, $2::int, $3::text, $4::int)
    AND ($5::text IS NULL OR market_id = $5)
    AND ($6::text IS NULL OR event_type = $6)
    AND ($7::timestamptz IS NULL OR timestamp >= $7)
    AND ($8::timestamptz IS NULL OR timestamp < $8)
    AND ($9::bigint IS NULL OR block_slot >= $9)
    AND commitment <> 'dropped'

-- name: list_events
-- Walks down the index of what is asked for; a range of time comes as its slots too, $1 above and $9 below.
{event_row}
{matching_events}
ORDER BY block_slot DESC, coalesce(block_index, -1) DESC, transaction_signature DESC, event_index DESC
LIMIT $10 OFFSET $11;

-- name: count_matching_events
-- Counts no further than $10, in whatever order is cheapest.
SELECT count(*) AS count FROM (SELECT FROM event_logs {matching_events} LIMIT $10) AS found;

-- name: count_listed_events
-- Of one market by its counters, one for each type; of all markets by the totals.
SELECT CASE WHEN $1::text IS NOT NULL THEN (
    SELECT coalesce(sum(count), 0) FROM event_counts
    WHERE market_id = $1 AND ($2::text IS NULL OR event_type = $2)
) ELSE (
    SELECT coalesce(sum(count), 0) FROM event_totals WHERE $2::text IS NULL OR event_type = $2
) END::bigint AS count;

-- name: markets_by_prefix
-- LIKE is right under any collation, and walks the index under C.
SELECT DISTINCT market_id FROM event_counts WHERE market_id LIKE $1 || '%' ORDER BY market_id LIMIT $2;

-- name: search_events
-- Each market, each type and the signatures are walked down by themselves; an event that was found twice is shown once.
-- Which market or type it is shows only while it runs, and the planner takes each for one of many events: asked for equality
-- it walked a million of all types down to 100 of a rare one. This order is that of one index alone.
WITH found AS (
    SELECT e.* FROM unnest($5::text[]) AS m (id) CROSS JOIN LATERAL (
        SELECT transaction_signature, event_index FROM event_logs
        WHERE market_id >= m.id AND commitment <> 'dropped'
            AND (market_id, block_slot, coalesce(block_index, -1)) <= (m.id, $1::bigint, $2::int)
            AND (block_slot, coalesce(block_index, -1), transaction_signature, event_index)
                < ($1::bigint, $2::int, $3::text, $4::int)
        ORDER BY market_id DESC, block_slot DESC, coalesce(block_index, -1) DESC, transaction_signature DESC,
            event_index DESC
        LIMIT $8
    ) AS e
    UNION
    SELECT e.* FROM unnest($6::text[]) AS t (name) CROSS JOIN LATERAL (
        SELECT transaction_signature, event_index FROM event_logs
        WHERE event_type >= t.name AND commitment <> 'dropped'
            AND (event_type, block_slot, coalesce(block_index, -1)) <= (t.name, $1::bigint, $2::int)
            AND (block_slot, coalesce(block_index, -1), transaction_signature, event_index)
                < ($1::bigint, $2::int, $3::text, $4::int)
        ORDER BY event_type DESC, block_slot DESC, coalesce(block_index, -1) DESC, transaction_signature DESC,
            event_index DESC
        LIMIT $8
    ) AS e
    UNION
    SELECT e.* FROM (
        SELECT transaction_signature, event_index FROM event_logs
        WHERE transaction_signature LIKE $7 || '%' AND commitment <> 'dropped'
            AND (block_slot, coalesce(block_index, -1), transaction_signature, event_index)
                < ($1::bigint, $2::int, $3::text, $4::int)
        ORDER BY block_slot DESC, coalesce(block_index, -1) DESC, transaction_signature DESC, event_index DESC
        LIMIT $8
    ) AS e
)
{event_row} JOIN found USING (transaction_signature, event_index)
ORDER BY block_slot DESC, coalesce(block_index, -1) DESC, transaction_signature DESC, event_index DESC
LIMIT $8;

-- name: count_found_events
-- By counters, and signatures of none of these markets and types, which are few, one by one.
SELECT (
    SELECT coalesce(sum(count), 0) FROM event_counts
    WHERE market_id = ANY ($1::text[]) AND NOT event_type = ANY ($2::text[])
)::bigint + (
    SELECT coalesce(sum(count), 0) FROM event_totals WHERE event_type = ANY ($2::text[])
)::bigint + (
    SELECT count(*) FROM event_logs
    WHERE transaction_signature LIKE $3 || '%' AND commitment <> 'dropped'
        AND NOT coalesce(market_id = ANY ($1::text[]), false) AND NOT event_type = ANY ($2::text[])
) AS count;

-- === reconciliation ===

-- name: markets_to_compare
SELECT m.market_id
FROM markets AS m
LEFT JOIN clean_markets AS c ON c.market_id = m.market_id
WHERE m.market_id > $1 AND ($2::text IS NULL OR m.market_id = $2)
    AND NOT (m.state IN ('FINALIZED', 'CANCELLED') AND c.slot IS NOT NULL AND c.slot >= m.observed_slot)
ORDER BY m.market_id
LIMIT $3;

-- name: heard_slot
-- Below what is wanted and not read yet, and what a market has yet to hear; not held up by what somebody was told of.
SELECT least(
    min(c.slot),
    (SELECT min(coalesce(slot, 0)) - 1 FROM wanted_transactions WHERE alerted_at IS NULL),
    (SELECT min(slot) - 1 FROM market_effects WHERE kind = 'observe')
) AS slot
FROM indexer_cursor AS c
HAVING count(*) > 0;

-- name: submitted_pairs
-- The last pair of each type that was sent and confirmed (decisions P7).
SELECT DISTINCT ON (market_id, vote_type) market_id, vote_type, submitted_yes, submitted_no
FROM aggregation_results
WHERE market_id = ANY ($1::text[]) AND status = 'confirmed'
ORDER BY market_id, vote_type, id DESC;

-- name: positions_to_compare
-- Not those of terminal markets that were equal once and have not been read again since.
SELECT p.market_id, p.user_pubkey
FROM positions AS p
LEFT JOIN markets AS m ON m.market_id = p.market_id
WHERE (p.market_id, p.user_pubkey) > ($1::text, $2::text) AND ($3::text IS NULL OR p.market_id = $3)
    AND p.slot >= p.touched_slot
    AND NOT (coalesce(m.state IN ('FINALIZED', 'CANCELLED'), false) AND p.clean_slot >= p.slot)
ORDER BY p.market_id, p.user_pubkey
LIMIT $4;

-- name: positions_at
{position_row}
WHERE (market_id, user_pubkey) IN (SELECT * FROM unnest(cells($1), cells($2)));

-- name: note_clean_markets
INSERT INTO clean_markets AS c (market_id, slot)
SELECT market_id, slot::bigint FROM unnest(cells($1), cells($2)) AS n (market_id, slot)
ON CONFLICT (market_id) DO UPDATE SET slot = greatest(c.slot, excluded.slot);

-- name: note_clean_positions
-- Only of terminal markets: the others are compared every time.
UPDATE positions AS p SET clean_slot = n.slot::bigint
FROM unnest(cells($1), cells($2), cells($3)) AS n (market_id, user_pubkey, slot)
JOIN markets AS m ON m.market_id = n.market_id AND m.state IN ('FINALIZED', 'CANCELLED')
WHERE p.market_id = n.market_id AND p.user_pubkey = n.user_pubkey AND p.clean_slot < n.slot::bigint;

-- name: suspicions
SELECT market_id, user_pubkey, field, database_value, chain_value, observed_slot, reported
FROM suspicions
WHERE market_id = ANY ($1::text[]);

-- name: forget_suspicions
DELETE FROM suspicions AS s
USING unnest(cells($1), cells($2), cells($3)) AS n (market_id, user_pubkey, field)
WHERE s.market_id = n.market_id AND s.user_pubkey = n.user_pubkey AND s.field = n.field;

-- name: keep_suspicions
INSERT INTO suspicions AS s (market_id, user_pubkey, field, database_value, chain_value, observed_slot, reported)
SELECT market_id, user_pubkey, field, database_value, chain_value, slot::bigint, reported::boolean
FROM unnest(cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7))
    AS n (market_id, user_pubkey, field, database_value, chain_value, slot, reported)
ON CONFLICT (market_id, user_pubkey, field) DO UPDATE
SET database_value = excluded.database_value, chain_value = excluded.chain_value,
    observed_slot = excluded.observed_slot, reported = excluded.reported;

-- name: add_discrepancies
INSERT INTO discrepancies (market_id, user_pubkey, field, database_value, chain_value, observed_slot, repaired)
SELECT market_id, nullif(user_pubkey, ''), field, database_value, chain_value, slot::bigint, repaired::boolean
FROM unnest(cells($1), cells($2), cells($3), cells($4), cells($5), cells($6), cells($7))
    AS n (market_id, user_pubkey, field, database_value, chain_value, slot, repaired);

-- name: list_discrepancies
SELECT id::text, market_id, user_pubkey, field, database_value, chain_value, observed_slot, repaired, detected_at,
    (extract(epoch FROM detected_at) * 1000000)::bigint AS detected_at_us
FROM discrepancies
WHERE ($1::text IS NULL OR market_id = $1)
    AND ($2::bigint IS NULL
        OR (detected_at, id) < (timestamptz 'epoch' + $2::bigint * interval '1 microsecond', $3::text::uuid))
ORDER BY detected_at DESC, id DESC
LIMIT $4;

-- name: ask_for_reconciliation
-- One that is waiting to be begun serves whoever asks for the same.
WITH waiting AS (
    SELECT id FROM reconciliation_runs
    WHERE finished_at IS NULL AND started_at IS NULL AND market_id IS NOT DISTINCT FROM $1
    LIMIT 1
), made AS (
    INSERT INTO reconciliation_runs (market_id) SELECT $1 WHERE NOT EXISTS (SELECT FROM waiting) RETURNING id
)
SELECT id::text AS id FROM waiting UNION ALL SELECT id::text FROM made;

-- name: begin_reconciliation
-- The next one that is asked for; one whose worker has died is begun again after $1 seconds.
UPDATE reconciliation_runs AS r SET started_at = now()
FROM (
    SELECT id FROM reconciliation_runs
    WHERE finished_at IS NULL AND (started_at IS NULL OR started_at < now() - make_interval(secs => $1::int))
    ORDER BY requested_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED
) AS next
WHERE r.id = next.id
RETURNING r.id::text AS id, r.market_id;

-- name: end_reconciliation
UPDATE reconciliation_runs
SET finished_at = now(), checked = $2, discrepancies = $3, repaired = $4, error = $5
WHERE id = $1::text::uuid;

-- name: reconciliation_run
SELECT finished_at IS NOT NULL AS is_finished, checked, discrepancies, repaired, error
FROM reconciliation_runs
WHERE id = $1::text::uuid;

-- name: last_reconciliation
-- Seconds since the last run over all markets was asked for; NULL when there was none.
SELECT extract(epoch FROM now() - max(requested_at))::bigint AS age_s FROM reconciliation_runs WHERE market_id IS NULL;

-- name: prune_reconciliations
DELETE FROM reconciliation_runs WHERE finished_at < now() - make_interval(secs => $1::int);

-- === figures ===

-- name: system_figures
-- What dashboards show of the whole system. Every part reads an index of what is open; ended attempts by the last hour.
SELECT 'transactions' AS kind, t.status AS label, count(*)::float8 AS value
FROM chain_transactions AS t
WHERE t.status IN ('planned', 'signed', 'sent')
GROUP BY t.status
UNION ALL
SELECT 'transactions', 'confirmed', count(*)::float8 FROM chain_transactions WHERE status = 'confirmed'
UNION ALL
SELECT 'transactions_hour', t.status, count(*)::float8
FROM chain_transactions AS t
WHERE t.planned_at > now() - interval '1 hour' AND t.status IN ('finalized', 'failed', 'expired')
GROUP BY t.status
UNION ALL
SELECT 'alerts', a.severity, count(*)::float8 FROM alerts AS a WHERE a.resolved_at IS NULL GROUP BY a.severity
UNION ALL
SELECT 'feed_lag', '', coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8
FROM feed_outbox WHERE published_at IS NULL
UNION ALL
SELECT 'inbox_age', '', coalesce(extract(epoch FROM now() - min(received_at)), 0)::float8
FROM webhook_inbox WHERE status = 'pending'
UNION ALL
SELECT 'cursor_lag', '', greatest(finalized_slot - slot, 0)::float8 FROM indexer_cursor WHERE program_id = $1
UNION ALL
SELECT 'sweep_age', '', extract(epoch FROM now() - swept_at)::float8
FROM indexer_cursor WHERE program_id = $1 AND swept_at IS NOT NULL
UNION ALL
SELECT 'dead_letters', '', count(*)::float8 FROM dead_letters WHERE replayed_at IS NULL
UNION ALL
SELECT 'shards_owned', '', count(owner)::float8 FROM virtual_shards;

-- === migrations ===

-- name: make_ledger_of_migrations
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: lock_migrations
SELECT pg_advisory_lock(76, 0);

-- name: has_ledger_of_migrations
SELECT to_regclass('schema_migrations') IS NOT NULL;

-- name: applied_migrations
SELECT name, checksum FROM schema_migrations;

-- name: record_migration
INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2);

-- === bridges ===

-- name: bridge_beats
-- It need not be on disk; a bridge that has been silent for a day is forgotten.
WITH quick AS (SELECT set_config('synchronous_commit', 'off', true)),
forgotten AS (DELETE FROM bridges WHERE beat_at < now() - interval '1 day' AND id <> $1::text::uuid)
INSERT INTO bridges (id, host, pid, connections) SELECT $1::text::uuid, $2::text, $3::int, $4::int FROM quick
ON CONFLICT (id) DO UPDATE SET connections = excluded.connections, beat_at = now();

-- name: order_bridges
-- Questions are forgotten after an hour, orders to close never.
WITH forgotten AS (DELETE FROM bridge_orders WHERE NOT is_kick AND asked_at < now() - interval '1 hour'),
told AS (SELECT pg_notify('zmart_bridges', ''))
INSERT INTO bridge_orders (is_kick, wallet, limit_each, reason, asked_by)
SELECT $1::boolean, $2::text, $3::int, $4::text, $5::text FROM told
RETURNING id::text;

-- name: open_bridge_orders
-- Of the last half minute: whoever starts later has none of those connections.
SELECT o.id::text, o.is_kick, o.wallet, o.limit_each, o.reason
FROM bridge_orders AS o
WHERE o.asked_at > now() - interval '30 seconds'
    AND NOT EXISTS (SELECT FROM bridge_answers AS a WHERE a.order_id = o.id AND a.bridge_id = $1::text::uuid)
ORDER BY o.asked_at;

-- name: answer_bridge_order
INSERT INTO bridge_answers (order_id, bridge_id, host, pid, connections, matching, shown)
SELECT $1::text::uuid, $2::text::uuid, $3::text, $4::int, $5::int, $6::int, $7::text::jsonb
WHERE EXISTS (SELECT FROM bridge_orders WHERE id = $1::text::uuid)
ON CONFLICT DO NOTHING;

-- name: bridge_words
SELECT coalesce(a.bridge_id, b.id)::text AS id, coalesce(a.host, b.host) AS host, coalesce(a.pid, b.pid) AS pid,
    a.connections, a.matching, a.shown::text
FROM (SELECT * FROM bridges WHERE beat_at > now() - interval '15 seconds') AS b
FULL JOIN (SELECT * FROM bridge_answers WHERE order_id = $1::text::uuid) AS a ON a.bridge_id = b.id
ORDER BY 2, 3;
