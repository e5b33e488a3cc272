-- A ballot that has one in its way ends the statement by itself: to look in every index first, as ON CONFLICT does, took a
-- sixth of an insert, and all of the batch goes step by step then anyway. $40: wake the notifier with this commit, which
-- spares a transaction that would do nothing else.
CREATE FUNCTION take_votes(
    text, text, int, text, text, text, text, text, text, text, text, text, text, text, text, text, text,
    text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text,
    text, text, text, int, int, boolean
) RETURNS boolean LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    went_well boolean;
BEGIN
    WITH fenced AS MATERIALIZED (
        SELECT count(*) AS owned FROM (
            SELECT v.id FROM virtual_shards AS v
            JOIN unnest(cells($1), cells($2)) AS mine (id, epoch)
                ON v.id = mine.id::smallint AND v.epoch = mine.epoch::bigint
            FOR SHARE OF v
        ) AS held
    ), inserted AS (
        INSERT INTO vote_records (
            id, market_id, user_pubkey, vote_type, vote, weight, source, request_id, market_version, weight_slot,
            created_at, wallet_signature
        )
        SELECT id::uuid, market_id, user_pubkey, vote_type, vote::boolean, weight::numeric, 'api', request_id,
            market_version::bigint, weight_slot::bigint, to_timestamp(accepted_at_ms::float8 / 1000), wallet_signature
        FROM unnest(
            cells($4), cells($5), cells($6), cells($7), cells($8), cells($9), cells($10), cells($11), cells($12),
            cells($13), cells($14)
        ) AS ballots (
            id, market_id, user_pubkey, vote_type, vote, weight, request_id, market_version, weight_slot, accepted_at_ms,
            wallet_signature
        )
        WHERE (SELECT owned FROM fenced) = $3
        RETURNING 1
    ), counted AS (
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
            cells($15), cells($16), cells($17), cells($18), cells($19), cells($20), cells($21), cells($22), cells($23),
            cells($24), cells($25), cells($26), cells($27), cells($28), cells($29), cells($30), cells($31), cells($32)
        ) AS n (
            market_id, version, market_seq, votes_seq, likes, dislikes, like_voters, dislike_voters,
            support, reject, support_voters, reject_voters, proposal_log_size, proposal_log_peaks,
            dispute_log_size, dispute_log_peaks, next_deadline_at_s, next_deadline_clock
        )
        WHERE m.market_id = n.market_id AND m.version = n.version::bigint - 1
        RETURNING 1
    ), told AS (
        INSERT INTO feed_outbox (channel, seq, type, payload, votes_seq)
        SELECT channel, seq::bigint, type, payload::jsonb, votes_seq::bigint
        FROM unnest(cells($33), cells($34), cells($35), cells($36), cells($37))
            WITH ORDINALITY AS o (channel, seq, type, payload, votes_seq, place)
        ORDER BY place
    )
    SELECT all_or_nothing(
        (SELECT owned FROM fenced) = $3
        AND (SELECT count(*) FROM inserted) = $38
        AND (SELECT count(*) FROM counted) = $39
    ) INTO went_well;
    IF $40 THEN
        PERFORM pg_notify('zmart_outbox', '');
    END IF;
    RETURN went_well;
END
$$;

-- As shards of the build before call it.
CREATE OR REPLACE FUNCTION take_votes(
    text, text, int, text, text, text, text, text, text, text, text, text, text, text, text, text, text,
    text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text,
    text, text, text, int, int
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN take_votes(
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
        $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, false
    );
END
$$;
