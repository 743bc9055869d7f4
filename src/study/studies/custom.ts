export async function readStudyPlan(_file: string): Promise<unknown> {
  throw new Error('todo');
}
