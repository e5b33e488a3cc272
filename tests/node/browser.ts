// A page's whole acquaintance with the API: signs in with a wallet, watches a market, votes, and is told why not.
import { create } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import bs58 from "bs58";
import { ErrorInfoSchema } from "./google/rpc/error_details_pb";
import { AuthService } from "./zmart/v1/auth_service_pb";
import { MarketService, WatchMarketRequestSchema, type WatchMarketResponse } from "./zmart/v1/market_service_pb";
import { VoteService } from "./zmart/v1/vote_service_pb";

interface Given {
  url: string;
  marketId: string;
}

async function signIn(auth: Client<typeof AuthService>): Promise<string> {
  const pair = (await crypto.subtle.generateKey("Ed25519", true, ["sign"])) as CryptoKeyPair;
  const address = bs58.encode(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
  const { message } = await auth.createChallenge({ address });
  const signed = await crypto.subtle.sign("Ed25519", pair.privateKey, new TextEncoder().encode(message));
  const answer = await auth.signIn({ address, message, signature: bs58.encode(new Uint8Array(signed)) });
  return answer.accessToken;
}

// What ended a call, with the reason out of the error details: a page sees them only if CORS exposes them.
async function refusal(call: Promise<unknown>): Promise<{ code: string; reasons: string[] }> {
  try {
    await call;
  } catch (caught) {
    const error = ConnectError.from(caught);
    return { code: Code[error.code], reasons: error.findDetails(ErrorInfoSchema).map((info) => info.reason) };
  }
  throw new Error("the call was not refused");
}

async function nextChange(stream: AsyncIterator<WatchMarketResponse>): Promise<WatchMarketResponse> {
  for (;;) {
    const { value, done } = await stream.next();
    if (done) throw new Error("the watch ended");
    if (value.update.case === "change") return value;
  }
}

async function acquaintance({ url, marketId }: Given): Promise<unknown> {
  let token = "";
  const bearer: Interceptor = (next) => (request) => {
    if (token) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const transport = createGrpcWebTransport({ baseUrl: url, interceptors: [bearer] });
  const votes = createClient(VoteService, transport);
  const markets = createClient(MarketService, transport);

  const nobody = await refusal(votes.castProposalVote({ marketId, vote: "like" }));
  token = await signIn(createClient(AuthService, transport));

  const leaving = new AbortController();
  const watched = markets.watchMarket(create(WatchMarketRequestSchema, { marketId }), { signal: leaving.signal });
  const stream = watched[Symbol.asyncIterator]();
  const first = (await stream.next()).value as WatchMarketResponse;

  const vote = await votes.castProposalVote({ marketId, vote: "like" });
  const change = await nextChange(stream);
  leaving.abort();

  const resumed = markets.watchMarket({ marketId, resumeToken: first.resumeToken })[Symbol.asyncIterator]();
  const again = await nextChange(resumed);
  const second = await refusal(votes.castProposalVote({ marketId, vote: "dislike" }));
  const tally = await votes.getTally({ marketId });
  return {
    nobody,
    first: first.update.case,
    counted: vote.voteCount?.likes,
    change: change.update.case === "change" ? change.update.value.type : "",
    resumedTheSame: again.resumeToken === change.resumeToken,
    second,
    tally: { likes: tally.proposal?.likes, dislikes: tally.proposal?.dislikes },
  };
}

const given = (await (await fetch("/given")).json()) as Given;
const outcome = await acquaintance(given).catch((caught: unknown) => ({ failed: String(caught) }));
await fetch("/outcome", {
  method: "POST",
  body: JSON.stringify(outcome, (_, value) => (typeof value === "bigint" ? Number(value) : value)),
});
