// A market's life with unmodified TypeScript clients: @coral-xyz/anchor's Program, BorshCoder and EventParser over
// @solana/web3.js. Reads {rpcUrl, wsUrl, idl, keys} on stdin, writes what it saw as one JSON object on stdout.
"use strict";

const fs = require("node:fs");
const { AnchorError, AnchorProvider, BN, BorshCoder, EventParser, Program, Wallet } = require("@coral-xyz/anchor");
const {
  ComputeBudgetProgram, Connection, Keypair, PublicKey, SystemProgram, TransactionMessage, VersionedTransaction,
} = require("@solana/web3.js");

BN.prototype.toJSON = function () { return this.toString(); };

const SOL = 1_000_000_000;
const input = JSON.parse(fs.readFileSync(0, "utf8"));
const connection = new Connection(input.rpcUrl, { commitment: "confirmed", wsEndpoint: input.wsUrl });
const key = (secret) => Keypair.fromSecretKey(Uint8Array.from(secret));
const admin = key(input.keys.admin);
const backend = key(input.keys.backend);
const options = { commitment: "confirmed", preflightCommitment: "confirmed" };
const program = new Program(input.idl, new AnchorProvider(connection, new Wallet(admin), options));
const coder = new BorshCoder(input.idl);
const parser = new EventParser(program.programId, coder);

const address = (...seeds) => PublicKey.findProgramAddressSync(seeds, program.programId)[0];
const marketId = Buffer.alloc(32, 0x2a);
const globalConfig = address(Buffer.from("global-config"));
const market = address(Buffer.from("market"), marketId);
const position = (user) => address(Buffer.from("position"), market.toBuffer(), user.toBuffer());
const voteRecord = (user) => address(Buffer.from("vote"), market.toBuffer(), user.toBuffer(), Buffer.from([0]));
const systemProgram = SystemProgram.programId;

const events = [];
const states = [];

async function rpc(method, ...params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const headers = { "Content-Type": "application/json" };
  const answer = await (await fetch(input.rpcUrl, { method: "POST", headers, body })).json();
  if (answer.error) throw new Error(answer.error.message);
  return answer.result;
}

// Moves the Clock, and waits for the slot in which preflight sees it too.
async function advance(seconds) {
  const { unixTimestamp } = await rpc("zmart_advanceClock", seconds);
  while ((await rpc("zmart_getClock", { commitment: "confirmed" })).unixTimestamp < unixTimestamp);
}

// Sends, lets web3.js confirm over signatureSubscribe, and keeps the events that EventParser finds in the logs.
async function run(method, accounts, ...signers) {
  const signature = await method.accountsStrict(accounts).signers(signers).rpc();
  const landed = await connection.getTransaction(signature, { commitment: "confirmed", maxSupportedTransactionVersion: 0 });
  for (const event of parser.parseLogs(landed.meta.logMessages)) events.push({ name: event.name, data: event.data });
  const account = coder.accounts.decode("MarketAccount", (await connection.getAccountInfo(market)).data);
  states.push(Object.keys(account.state)[0]);
  return signature;
}

async function wallet() {
  const pair = Keypair.generate();
  await connection.confirmTransaction(await connection.requestAirdrop(pair.publicKey, 5 * SOL), "confirmed");
  return pair;
}

async function refusal(method, accounts, ...signers) {
  try {
    await method.accountsStrict(accounts).signers(signers).rpc();
  } catch (error) {
    if (error instanceof AnchorError) return { code: error.error.errorCode.code, number: error.error.errorCode.number };
    return { message: error.message };
  }
  throw new Error("was not refused");
}

async function live() {
  const methods = program.methods;
  const [alice, bob] = await Promise.all([wallet(), wallet()]);
  const heard = [];
  const listener = program.addEventListener("proposalApproved", (event, slot) => heard.push({ event, slot }));
  const changes = [];
  const watcher = connection.onAccountChange(market, (info) => changes.push(info.data.length), { commitment: "confirmed" });
  await new Promise((resolve) => connection.onSlotChange(resolve));

  const question = Array.from(Buffer.from("Qm" + "q".repeat(44)));
  await run(methods.createMarket(Array.from(marketId), new BN(100 * SOL), new BN(SOL / 10), question), {
    creator: admin.publicKey, market, globalConfig, systemProgram,
  });
  for (const [user, likes] of [[alice, true], [bob, false]]) {
    const accounts = { market, voteRecord: voteRecord(user.publicKey), user: user.publicKey, systemProgram };
    await run(methods.submitProposalVote(likes), accounts, user);
  }
  const again = { market, voteRecord: voteRecord(alice.publicKey), user: alice.publicKey, systemProgram };
  const secondVote = await refusal(methods.submitProposalVote(true), again, alice);
  const early = await refusal(methods.approveProposal(), { admin: admin.publicKey, market, globalConfig });
  await run(methods.aggregateProposalVotes(7, 3), { market, globalConfig, backendAuthority: backend.publicKey }, backend);
  await run(methods.approveProposal(), { admin: admin.publicKey, market, globalConfig });
  await run(methods.activateMarket(), { authority: admin.publicKey, market, globalConfig });

  const config = await program.account.globalConfig.fetch(globalConfig);
  const trade = (user) => ({
    globalConfig, market, position: position(user), user, protocolFeeWallet: config.protocolFeeWallet, systemProgram,
  });
  await run(methods.buyShares(true, new BN(SOL)), trade(alice.publicKey), alice);
  await run(methods.buyShares(false, new BN(SOL / 2)), trade(bob.publicKey), bob);

  await advance(60);
  await run(methods.resolveMarket(true, question), { globalConfig, market, resolver: bob.publicKey }, bob);
  const finalize = { globalConfig, market, backendAuthority: backend.publicKey };
  await advance(1);
  const tooEarly = await refusal(methods.finalizeMarket(null, null), finalize, backend);
  await advance(config.disputePeriod.toNumber());
  await run(methods.finalizeMarket(null, null), finalize, backend);
  const claim = { globalConfig, market, position: position(alice.publicKey), user: alice.publicKey, resolver: bob.publicKey, systemProgram };
  await run(methods.claimWinnings(), claim, alice);

  const stake = await program.account.userPosition.fetch(position(alice.publicKey));
  const votes = await program.account.voteRecord.all([{ memcmp: { offset: 8, bytes: market.toBase58() } }]);
  const versioned = await manyAtOnce(alice);
  await program.removeEventListener(listener);
  await connection.removeAccountChangeListener(watcher);
  return {
    events, states, secondVote, early, tooEarly, versioned,
    heard: heard.length, accountSizes: [...new Set(changes)],
    stake: { yes: stake.sharesYes, claimed: stake.hasClaimed, invested: stake.totalInvested },
    votes: votes.map(({ account }) => account.vote).sort(),
    finalOutcome: (await program.account.marketAccount.fetch(market)).finalOutcome,
  };
}

// Several instructions and signers in one v0 transaction, with a compute budget, read back in the ways explorers do.
async function manyAtOnce(user) {
  const instructions = [
    ComputeBudgetProgram.setComputeUnitLimit({ units: 50_000 }),
    ComputeBudgetProgram.setComputeUnitPrice({ microLamports: 1_000 }),
    SystemProgram.transfer({ fromPubkey: user.publicKey, toPubkey: admin.publicKey, lamports: 1 }),
  ];
  const { blockhash } = await connection.getLatestBlockhash();
  const message = new TransactionMessage({ payerKey: admin.publicKey, recentBlockhash: blockhash, instructions });
  const transaction = new VersionedTransaction(message.compileToV0Message());
  const signature = await program.provider.sendAndConfirm(transaction, [user]);
  const config = { commitment: "confirmed", maxSupportedTransactionVersion: 0 };
  const parsed = await connection.getParsedTransaction(signature, config);
  const block = await connection.getBlock(parsed.slot, config);
  const listed = await connection.getSignaturesForAddress(user.publicKey, { limit: 1 }, "confirmed");
  return {
    version: parsed.version,
    fee: parsed.meta.fee,
    transfer: parsed.transaction.message.instructions[2].parsed.type,
    isInBlock: block.transactions.some((item) => item.transaction.signatures[0] === signature),
    isListed: listed[0].signature === signature,
  };
}

live().then(
  (seen) => {
    fs.writeSync(1, JSON.stringify(seen));
    process.exit(0);
  },
  (error) => {
    fs.writeSync(2, `${error.stack}\n${(error.logs || []).join("\n")}\n`);
    process.exit(1);
  },
);
