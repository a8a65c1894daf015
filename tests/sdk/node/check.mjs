// What every script here needs: where the gateway is, what it serves, and a way to say that something is not so.
export const baseURL = process.env.SWITCHYARD_BASE_URL;
export const root = baseURL.replace(/\/v1$/, "");
export const apiKey = process.env.SDK_TEST_KEY;
/** One model of each provider's dialect. */
export const models = process.env.SDK_TEST_MODELS.split(" ");

export function check(what, truth) {
  if (!truth) {
    console.error(`FAILED ${what}`);
    process.exit(1);
  }
  console.log(`  ok  ${what}`);
}

/** The error `call` fails with. */
export async function failure(what, call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  check(`${what}: nothing was raised`, false);
}
