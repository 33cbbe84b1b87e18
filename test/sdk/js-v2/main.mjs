// Calls GetCallerIdentity every second, and prints the outcome, a line for each call.
import { setTimeout } from "node:timers/promises";
import STS from "aws-sdk/clients/sts.js";

// This SDK has no environment variable for the endpoint.
const client = new STS({ endpoint: process.env.AWS_ENDPOINT_URL_STS });
for (;;) {
	try {
		console.log("ok", (await client.getCallerIdentity().promise()).Arn);
	} catch (error) {
		console.log("failed", String(error));
	}
	await setTimeout(1000);
}
