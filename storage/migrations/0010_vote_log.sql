-- The log of votes: what each vote's leaf says, the frontier of each log, and the votes that are kept but not counted.

ALTER TABLE vote_records ADD COLUMN wallet_signature text;
ALTER TABLE markets
    ADD COLUMN proposal_log_size bigint NOT NULL DEFAULT 0,
    ADD COLUMN proposal_log_peaks bytea NOT NULL DEFAULT '',
    ADD COLUMN dispute_log_size bigint NOT NULL DEFAULT 0,
    ADD COLUMN dispute_log_peaks bytea NOT NULL DEFAULT '';
ALTER TABLE aggregation_results
    ADD COLUMN votes_size bigint,
    ADD COLUMN votes_root text;

-- Votes that are kept but not counted: superseded by the wallet's vote on chain (P4), which stands in vote_records, or
-- seen on chain too late (P2). The superseded ones are entries of the log like those in vote_records.
CREATE TABLE uncounted_votes (
    id uuid PRIMARY KEY,
    market_id text NOT NULL,
    user_pubkey text NOT NULL,
    vote_type text NOT NULL CHECK (vote_type IN ('proposal', 'dispute')),
    vote boolean NOT NULL,
    weight numeric(20, 0) NOT NULL CHECK (weight >= 0),
    source text NOT NULL CHECK (source IN ('api', 'chain')),
    request_id text,
    tx_signature text,
    market_version bigint NOT NULL, -- of a late one: the version that it came too late for
    created_at timestamptz NOT NULL,
    weight_slot bigint CHECK (weight_slot >= 0),
    wallet_signature text,
    reason text NOT NULL CHECK (reason IN ('superseded', 'late')),
    superseded_by uuid,
    superseded_at_version bigint,
    CHECK ((reason = 'superseded') = (superseded_by IS NOT NULL AND superseded_at_version IS NOT NULL))
);

CREATE INDEX uncounted_votes_version ON uncounted_votes (market_id, vote_type, reason, market_version);
CREATE INDEX uncounted_votes_superseded ON uncounted_votes (market_id, vote_type, superseded_at_version)
    WHERE reason = 'superseded';
CREATE UNIQUE INDEX uncounted_votes_request ON uncounted_votes (user_pubkey, request_id) WHERE request_id IS NOT NULL;

-- Votes from before this log become its first entries. Their leaves say whole milliseconds, so the rows must.
UPDATE vote_records SET created_at = date_trunc('milliseconds', created_at)
WHERE created_at <> date_trunc('milliseconds', created_at);

DO $$
DECLARE
    log record;
    entry record;
    peaks bytea[];
    node bytea;
    size bigint;
    ones bigint;
BEGIN
    FOR log IN SELECT DISTINCT market_id, vote_type FROM vote_records LOOP
        peaks := ARRAY[]::bytea[];
        size := 0;
        FOR entry IN
            SELECT * FROM vote_records AS v
            WHERE v.market_id = log.market_id AND v.vote_type = log.vote_type
            ORDER BY v.market_version, v.id
        LOOP
            node := sha256('\x00'::bytea || convert_to(concat_ws(E'\n',
                'zmart.vote.v1', entry.market_id, entry.vote_type, entry.user_pubkey,
                CASE entry.vote_type
                    WHEN 'proposal' THEN CASE WHEN entry.vote THEN 'like' ELSE 'dislike' END
                    ELSE CASE WHEN entry.vote THEN 'support' ELSE 'reject' END
                END,
                entry.weight, coalesce(entry.weight_slot::text, '-'), entry.source, coalesce(entry.tx_signature, '-'),
                entry.id, (extract(epoch FROM entry.created_at) * 1000)::bigint, entry.market_version, '-'
            ), 'UTF8'));
            ones := size;
            WHILE ones % 2 = 1 LOOP
                node := sha256('\x01'::bytea || peaks[cardinality(peaks)] || node);
                peaks := peaks[:cardinality(peaks) - 1];
                ones := ones / 2;
            END LOOP;
            peaks := peaks || node;
            size := size + 1;
        END LOOP;
        IF log.vote_type = 'proposal' THEN
            UPDATE markets AS m
            SET proposal_log_size = size, proposal_log_peaks = (SELECT string_agg(p, ''::bytea) FROM unnest(peaks) AS p)
            WHERE m.market_id = log.market_id;
        ELSE
            UPDATE markets AS m
            SET dispute_log_size = size, dispute_log_peaks = (SELECT string_agg(p, ''::bytea) FROM unnest(peaks) AS p)
            WHERE m.market_id = log.market_id;
        END IF;
    END LOOP;
END
$$;
